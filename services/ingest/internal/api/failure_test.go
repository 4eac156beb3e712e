package api

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/linkpulse/linkpulse/pkg/apikey/keyring"
	"github.com/linkpulse/linkpulse/pkg/kafkalog"
	"github.com/linkpulse/linkpulse/pkg/problem"
)

// errNotAppended is wrapped as the producer wraps its errors.
func wrapped(err error) error { return fmt.Errorf("%w: because", err) }

func TestWhatKafkaDoesNotTakeIsTold(t *testing.T) {
	t.Parallel()
	full, unknown, closed, down := wrapped(kafkalog.ErrQueueFull), wrapped(kafkalog.ErrUnknownOutcome), kafkalog.ErrClosed, errors.New("no leader")
	for _, tc := range []struct {
		name     string
		outcomes [3]error
		code     string
		results  [3]string // status and code of each; empty: there are no results
	}{
		{"queue full", [3]error{full, full, full}, "queue_full", [3]string{}},
		{"closing", [3]error{closed, closed, closed}, "closing", [3]string{}},
		{"broker away", [3]error{down, down, down}, "log_unavailable", [3]string{}},
		{"nothing taken, for several reasons", [3]error{down, full, down}, "unavailable", [3]string{}},
		{"unknown", [3]error{unknown, unknown, unknown}, "outcome_unknown", [3]string{"unknown outcome_unknown", "unknown outcome_unknown", "unknown outcome_unknown"}},
		{"one partition full", [3]error{nil, full, nil}, "queue_full", [3]string{"accepted ", "failed queue_full", "accepted "}},
		{"one partition away", [3]error{down, nil, nil}, "log_unavailable", [3]string{"failed log_unavailable", "accepted ", "accepted "}},
		{"all different", [3]error{nil, unknown, full}, "unavailable", [3]string{"accepted ", "unknown outcome_unknown", "failed queue_full"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, defaultLimits())
			r.log.fail = func(i int, _ *kafkalog.Message) error { return tc.outcomes[i] }
			w := r.post(`[{"link":"a","id":"` + someID + `"},{"link":"b"},{"link":"c","id":"` + otherID + `"}]`)
			a := decodeAnswer(t, w)
			if w.Code != http.StatusServiceUnavailable || a.Code != tc.code || w.Header().Get("Retry-After") != "1" {
				t.Fatalf("answer %d %v %s, want 503 %s", w.Code, w.Header(), w.Body, tc.code)
			}
			if tc.results[0] == "" {
				if a.Results != nil || !strings.Contains(a.Detail, "nothing was accepted") {
					t.Fatalf("nothing was accepted, and the answer is %s", w.Body)
				}
			} else {
				checkResults(t, a.Results, tc.results)
			}
			failed := 0.0
			for _, code := range []string{"queue_full", "closing", "log_unavailable", "outcome_unknown"} {
				failed += r.metric(t, "failed_clicks_total", code)
			}
			if accepted := r.metric(t, "accepted_clicks_total"); accepted != float64(len(r.log.appended)) || failed != 3-accepted {
				t.Errorf("%v accepted and %v failed in the metrics, %d were appended", accepted, failed, len(r.log.appended))
			}
		})
	}
}

func checkResults(t *testing.T, got []problem.Result, want [3]string) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("results %v, want %v", got, want)
	}
	for i, g := range got {
		id := g.ID == someID && i == 0 || g.ID == otherID && i == 2 || len(g.ID) == 36 && i == 1
		if g.Index != i || !id || g.Status+" "+g.Code != want[i] {
			t.Errorf("result %d is %+v, want %s", i, g, want[i])
		}
	}
}

// Sending again what failed, with the ids that stood in the results, puts each click in the log under one id only.
func TestRetryOfResults(t *testing.T) {
	t.Parallel()
	r := newRig(t, defaultLimits())
	r.log.fail = func(i int, _ *kafkalog.Message) error {
		if i == 1 {
			return kafkalog.ErrQueueFull
		}
		return nil
	}
	first := decodeAnswer(t, r.post(`[{"link":"a"},{"link":"b"}]`))
	r.log.fail = nil
	second := decodeAnswer(t, r.post(`{"link":"b","id":"`+first.Results[1].ID+`"}`))
	if len(r.log.appended) != 2 || second.IDs[0] != first.Results[1].ID || first.Results[0].ID == first.Results[1].ID {
		t.Fatalf("%d appended, first %+v, second %+v", len(r.log.appended), first.Results, second.IDs)
	}
}

func TestBeforeOpen(t *testing.T) {
	t.Parallel()
	h, err := New(defaultLimits(), &testKeys{anybody: keyring.Anybody()}, curlBots{}, prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	h.postClicks(w, httptest.NewRequest(http.MethodPost, "/v1/clicks", strings.NewReader(`{"link":"a"}`)))
	if a := decodeAnswer(t, w); w.Code != http.StatusServiceUnavailable || a.Code != "not_ready" || w.Header().Get("Retry-After") != "1" {
		t.Fatalf("answer %d %v %s", w.Code, w.Header(), w.Body)
	}
}

func TestWrongClock(t *testing.T) {
	t.Parallel()
	r := newRig(t, defaultLimits())
	r.log.ready = wrapped(kafkalog.ErrSkew)
	if a := decodeAnswer(t, r.post(`{"link":"a"}`)); a.Code != "not_ready" || len(r.log.appended) != 0 {
		t.Fatalf("answer %+v, %d appended", a, len(r.log.appended))
	}
	r.log.ready = wrapped(kafkalog.ErrFailing) // it may be over in time
	if a := decodeAnswer(t, r.post(`{"link":"a"}`)); a.Accepted != 1 {
		t.Fatalf("answer %+v", a)
	}
}

// Bodies and batches share a budget; one that is used up refuses, and what was taken comes back.
func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	limits := defaultLimits()
	limits.MaxMemory = 100 << 10
	r := newRig(t, limits)
	small := `{"link":"a"}`
	for name, body := range map[string]string{
		"a large body":      small + strings.Repeat(" ", 200<<10),
		"many small clicks": "[" + strings.Repeat(small+",", 599) + small + "]",
	} {
		if a := decodeAnswer(t, r.post(body)); a.Code != "busy" {
			t.Errorf("%s: answer %+v, want busy", name, a)
		}
	}
	if used := r.metric(t, "request_memory_bytes"); used != 0 || len(r.log.appended) != 0 {
		t.Errorf("%v bytes are still taken, %d clicks appended", used, len(r.log.appended))
	}
	large := small + strings.Repeat(" ", 50<<10)
	r.log.fail = func(int, *kafkalog.Message) error { // while the first body is still held
		if a := decodeAnswer(t, r.post(large)); a.Code != "busy" {
			t.Errorf("a second large body was answered %+v, want busy", a)
		}
		return nil
	}
	if w := r.post(large); w.Code != http.StatusAccepted {
		t.Errorf("answer %d %s to the first large body", w.Code, w.Body)
	}
	r.log.fail = nil
	if w := r.post(large); w.Code != http.StatusAccepted {
		t.Errorf("answer %d %s once there is room again", w.Code, w.Body)
	}
}

// errReader is a body that breaks off.
type errReader struct{}

func (errReader) Read([]byte) (int, error) { return 0, errors.New("connection reset") }

func TestBodyCutShort(t *testing.T) {
	t.Parallel()
	r := newRig(t, defaultLimits())
	w := r.do(httptest.NewRequest(http.MethodPost, "/v1/clicks", errReader{}))
	if a := decodeAnswer(t, w); w.Code != http.StatusBadRequest || a.Code != "body_cut_short" {
		t.Fatalf("answer %d %s", w.Code, w.Body)
	}
}

func TestTraceContext(t *testing.T) {
	t.Parallel()
	const good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	for value, passed := range map[string]bool{
		good: true,
		"cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01": true,
		"":                                       false,
		good + "-":                               false,
		strings.ToUpper(good):                    false,
		strings.Replace(good, "00-0", "ff-0", 1): false,
		strings.ReplaceAll(good, "-", "_"):       false,
		"00-00000000000000000000000000000000-b7ad6b7169203331-01": false,
		"00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01": false,
		"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0g": false,
		strings.Repeat("0", 4096):                                 false,
	} {
		r := newRig(t, defaultLimits())
		if w := r.post(`[{"link":"a"},{"link":"b"}]`, "Traceparent", value); w.Code != http.StatusAccepted {
			t.Fatalf("answer %d %s", w.Code, w.Body)
		}
		for _, m := range r.log.appended {
			ok := len(m.Headers) == 0
			if passed {
				ok = len(m.Headers) == 1 && m.Headers[0].Key == "traceparent" && string(m.Headers[0].Value) == value
			}
			if !ok {
				t.Errorf("%.80q was passed on as %v", value, m.Headers)
			}
		}
	}
}

// Every reason is in the metrics before it first happens, so that a rate over it is right from the first time on.
func TestMetricsAreThereFromTheStart(t *testing.T) {
	t.Parallel()
	r := newRig(t, defaultLimits())
	for why := reasonNone + 1; why < reasonMixed; why++ {
		code, status := why.describe()
		name := "refused_requests_total"
		if why.ofClick() {
			name = "failed_clicks_total"
		}
		if got := r.metric(t, name, code) + r.metric(t, "requests_total", strconv.Itoa(status)); got != 0 {
			t.Errorf("%s starts at %v", code, got)
		}
	}
	r.post(`[{"link":"a","bot":true},{"link":"b"}]`)
	if bots, batches, acks, inFlight := r.metric(t, "bot_clicks_total"), r.metric(t, "request_clicks"), r.metric(t, "append_seconds"), r.metric(t, "requests_in_flight"); bots != 1 || batches != 1 || acks != 1 || inFlight != 0 {
		t.Errorf("%v bots, %v batches, %v appends, %v in flight", bots, batches, acks, inFlight)
	}
}

func TestNewRegistersOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t, defaultLimits())
	if _, err := New(defaultLimits(), &testKeys{anybody: keyring.Anybody()}, curlBots{}, r.registry); err == nil {
		t.Fatal("registered twice without a word")
	}
}
