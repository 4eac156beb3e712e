package problem

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

func TestWrite(t *testing.T) {
	t.Parallel()
	w := httptest.NewRecorder()
	(&Problem{
		Status: http.StatusServiceUnavailable, Code: "unavailable", Detail: "try again", Index: new(0), Rule: "a rule",
		Results: []Result{{Index: 0, ID: "x", Status: "failed", Code: "queue_full"}}, RetryAfter: 1200 * time.Millisecond,
	}).Write(w)
	const want = `{"type":"urn:linkpulse:problem:unavailable","title":"Service Unavailable","status":503,` +
		`"detail":"try again","code":"unavailable","index":0,"rule":"a rule",` +
		`"results":[{"index":0,"id":"x","status":"failed","code":"queue_full"}]}` + "\n"
	if w.Code != http.StatusServiceUnavailable || w.Body.String() != want {
		t.Fatalf("answer %d %s, want %s", w.Code, w.Body, want)
	}
	if h := w.Header(); h.Get("Content-Type") != ContentType || h.Get("Retry-After") != "2" {
		t.Fatalf("headers %v", h)
	}
}
