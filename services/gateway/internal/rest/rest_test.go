package rest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"github.com/linkpulse/linkpulse/pkg/contract"
	"github.com/linkpulse/linkpulse/pkg/problem"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is a handler over a ledger. Every answer of it is held against the contract.
type rig struct {
	tb       testing.TB
	contract *contract.HTTP
	handler  *Handler
	ledger   *ledger
	registry *prometheus.Registry
	router   *chi.Mux
}

var (
	contractOnce sync.Once
	contractDoc  *contract.HTTP
)

func newRig(tb testing.TB, change func(*Config)) *rig {
	tb.Helper()
	contractOnce.Do(func() { contractDoc = contract.OpenAPI(tb) }) // loading it takes longer than most tests
	r := &rig{tb: tb, contract: contractDoc, ledger: newLedger(), registry: prometheus.NewRegistry(), router: chi.NewRouter()}
	cfg := Config{
		Linger: 10 * time.Second, MaxLinks: 1000, MaxRequests: 100, Registry: r.registry,
		HostAllowed: func(host string) bool { return host != "evil.example" },
		Origins:     []string{"https://*.dash.example"},
	}
	if change != nil {
		change(&cfg)
	}
	var err error
	if r.handler, err = New(cfg); err != nil {
		tb.Fatal(err)
	}
	r.handler.Routes(r.router)
	r.handler.Open(Source{Epoch: 3, Counts: r.ledger, History: r.ledger})
	tb.Cleanup(r.handler.Close)
	return r
}

// get asks for a path; header is a list of names and values.
func (r *rig) get(path string, header ...string) *httptest.ResponseRecorder {
	r.tb.Helper()
	return r.do(http.MethodGet, path, header...)
}

func (r *rig) do(method, path string, header ...string) *httptest.ResponseRecorder {
	r.tb.Helper()
	req := httptest.NewRequest(method, path, http.NoBody)
	for i := 0; i < len(header); i += 2 {
		if header[i] == "Host" {
			req.Host = header[i+1]
		}
		req.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	r.router.ServeHTTP(w, req)
	if method != http.MethodOptions {
		r.contract.ValidateRecorded(r.tb, req, w)
		if err := r.contract.CheckRequest(req); (err != nil) && w.Code < 400 {
			r.tb.Errorf("answered with %d although the contract does not allow it: %v", w.Code, err)
		}
	}
	return w
}

type history struct {
	From   int64
	StepMs int64 `json:"step_ms"`
	Seq    int64
	Counts []int64
	Bots   []int64
}

type linkAnswer struct {
	Link                        string
	Count, Bots, Seq, Epoch, At int64
	History                     *history
}

type batchAnswer struct {
	Epoch   int64
	Links   []linkAnswer
	Denied  []string
	Syncing []string
}

func decode[A any](tb testing.TB, w *httptest.ResponseRecorder) (a A) {
	tb.Helper()
	if w.Code != http.StatusOK {
		tb.Fatalf("answer %d %s", w.Code, w.Body)
	}
	if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil {
		tb.Fatalf("answer %s: %v", w.Body, err)
	}
	return a
}

// wantProblem checks a refusal: status, code and rule.
func wantProblem(tb testing.TB, w *httptest.ResponseRecorder, status int, code, rule string) {
	tb.Helper()
	var p struct{ Code, Rule, Detail string }
	if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
		tb.Fatalf("answer %d %s: %v", w.Code, w.Body, err)
	}
	if w.Code != status || p.Code != code || p.Rule != rule || p.Detail == "" || w.Header().Get("Content-Type") != problem.ContentType {
		tb.Fatalf("answer %d %s; want %d, code %s, rule %q", w.Code, w.Body, status, code, rule)
	}
	if status == http.StatusServiceUnavailable && w.Header().Get("Retry-After") != "1" {
		tb.Fatalf("Retry-After %q", w.Header().Get("Retry-After"))
	}
}

func TestClicks(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.ledger.click("acme:x7Kp2", false)
		r.ledger.click("other", false)
		r.ledger.click("acme:x7Kp2", true)
		want := linkAnswer{Link: "acme:x7Kp2", Count: 2, Bots: 1, Seq: 3, Epoch: 3, At: time.Now().UnixMilli()}
		for _, path := range []string{"/links/acme:x7Kp2/clicks", "/links/acme%3Ax7Kp2/clicks"} {
			w := r.get(path)
			if got := decode[linkAnswer](t, w); got != want {
				t.Fatalf("%s: %+v, want %+v", path, got, want)
			}
			if cc, ct := w.Header().Get("Cache-Control"), w.Header().Get("Content-Type"); cc != "no-cache" || ct != "application/json" {
				t.Fatalf("Cache-Control %q, Content-Type %q", cc, ct)
			}
		}
		// A link exists by being clicked.
		if got := decode[linkAnswer](t, r.get("/links/nobody/clicks")); got != (linkAnswer{Link: "nobody", Seq: 3, Epoch: 3}) {
			t.Fatalf("a link that nobody clicked: %+v", got)
		}
	})
}

func TestCounts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.ledger.click("a", false)
		r.ledger.syncing["c"] = true
		start := time.Now()
		got := decode[batchAnswer](t, r.get("/v1/counts?links=b,a,c,a,."))
		if time.Since(start) != patience {
			t.Fatalf("answered after %v, want the patience of %v", time.Since(start), patience)
		}
		if got.Epoch != 3 || len(got.Links) != 3 || len(got.Syncing) != 1 || got.Syncing[0] != "c" {
			t.Fatalf("answer %+v", got)
		}
		for i, want := range []linkAnswer{{Link: "b", Seq: 1}, {Link: "a", Count: 1, Seq: 1, At: start.UnixMilli()}, {Link: ".", Seq: 1}} {
			if got.Links[i] != want {
				t.Fatalf("link %d: %+v, want %+v", i, got.Links[i], want)
			}
		}
	})
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	long := "/v1/counts?links=" + strings.Repeat("x", maxQuery)
	many := "/v1/counts?links=a" + strings.Repeat(",a", maxLinks)
	for _, tc := range []struct {
		path       string
		status     int
		code, rule string
	}{
		{"/links/a%20b/clicks", 400, "bad_link", "link"},
		{"/links/" + strings.Repeat("x", 129) + "/clicks", 400, "bad_link", "link"},
		{"/links/a/clicks?history=0m", 400, "bad_parameter", "history"},
		{"/links/a/clicks?history=25h", 400, "bad_parameter", "history"},
		{"/links/a/clicks?history=1441m", 400, "bad_parameter", "history"},
		{"/links/a/clicks?history=60s", 400, "bad_parameter", "history"},
		{"/links/a/clicks?history=-1h", 400, "bad_parameter", "history"},
		{"/links/a/clicks?history=h", 400, "bad_parameter", "history"},
		{"/links/a/clicks?history=", 400, "bad_parameter", "history"},
		{"/links/a/clicks?history=1h&step=7m", 400, "bad_parameter", "step"},
		{"/links/a/clicks?history=1h&step=2h", 400, "bad_parameter", "step"},
		{"/links/a/clicks?history=1h&step=0m", 400, "bad_parameter", "step"},
		{"/links/a/clicks?step=1m", 400, "bad_parameter", "history"},
		{"/links/a/clicks?histroy=1h", 400, "bad_parameter", "unknown_parameter"},
		{"/links/a/clicks?history=1h&history=2h", 400, "bad_parameter", "duplicate_parameter"},
		{"/links/a/clicks?history=%zz", 400, "bad_parameter", "encoding"},
		{"/v1/counts", 400, "bad_parameter", "links"},
		{"/v1/counts?links=", 400, "bad_parameter", "links"},
		{many, 400, "bad_parameter", "links"},
		{"/v1/counts?links=a,,b", 400, "bad_link", "link"},
		{"/v1/counts?links=a,b,c%20d", 400, "bad_link", "link"},
		{"/v1/counts?links=a&history=1h", 400, "bad_parameter", "unknown_parameter"},
		{long, 414, "query_too_long", "links"},
	} {
		w := r.get(tc.path)
		wantProblem(t, w, tc.status, tc.code, tc.rule)
		if strings.Contains(w.Body.String(), "histroy") {
			t.Errorf("%s: the answer repeats what the client sent", tc.path)
		}
	}
	if n := r.ledger.watched(); n != 0 {
		t.Fatalf("%d links are watched for requests that were refused", n)
	}
	wantProblem(t, r.get("/v1/counts?links=a", "Host", "evil.example"), 403, "host", "")
	w := httptest.NewRecorder() // a path that the contract does not know
	r.router.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/links/a%2Fb/clicks", http.NoBody))
	wantProblem(t, w, 400, "bad_link", "link")
}

func TestConditionalRequests(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.ledger.click("a", false)
		for _, path := range []string{"/links/a/clicks", "/v1/counts?links=a,b", "/links/a/clicks?history=1h"} {
			tag := r.get(path).Header().Get("Etag")
			r.ledger.click("other", false) // seq moves on, the count stays
			strong := strings.TrimPrefix(tag, "W/")
			for _, have := range []string{tag, strong, `"x", ` + tag, `"x",` + strong + `,"y"`, "*"} {
				w := r.get(path, "If-None-Match", have)
				if w.Code != http.StatusNotModified || w.Body.Len() > 0 || w.Header().Get("Etag") != tag ||
					w.Header().Get("Cache-Control") != "no-cache" {
					t.Fatalf("%s with %s: %d %v %s", path, have, w.Code, w.Header(), w.Body)
				}
			}
			if w := r.get(path, "If-None-Match", `W/"3.0.0.0"`); w.Code != http.StatusOK {
				t.Fatalf("%s with another tag: %d", path, w.Code)
			}
			r.ledger.click("a", true)
			if w := r.get(path, "If-None-Match", tag); w.Code != http.StatusOK || w.Header().Get("Etag") == tag {
				t.Fatalf("%s after a click: %d, tag %s", path, w.Code, w.Header().Get("Etag"))
			}
		}
	})
}

func TestHeadIsGetWithoutBody(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.ledger.click("a", false)
		for _, path := range []string{"/links/a/clicks", "/v1/counts?links=a,b", "/links/a/clicks?history=1h"} {
			get := r.get(path)
			req := httptest.NewRequest(http.MethodHead, path, http.NoBody)
			head := httptest.NewRecorder()
			r.router.ServeHTTP(head, req)
			if head.Code != http.StatusOK || head.Body.Len() > 0 || fmt.Sprint(head.Header()) != fmt.Sprint(get.Header()) ||
				head.Header().Get("Content-Length") != strconv.Itoa(get.Body.Len()) {
				t.Fatalf("%s: HEAD %d %v, GET %v", path, head.Code, head.Header(), get.Header())
			}
		}
	})
}

func TestCrossOrigin(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	for _, tc := range []struct {
		origin  string
		allowed bool
	}{
		{"https://a.dash.example", true},
		{"HTTPS://A.Dash.Example", true},
		{"http://a.dash.example", false},
		{"https://dash.example", false},
		{"https://a.dash.example.evil.example", false},
		{"null", false},
		{"", false},
	} {
		for _, method := range []string{http.MethodGet, http.MethodOptions} {
			w := r.do(method, "/links/a/clicks", "Origin", tc.origin)
			h := w.Header()
			if got := h.Get("Access-Control-Allow-Origin"); (got != "") != tc.allowed || tc.allowed && got != tc.origin {
				t.Errorf("%s from %q: allowed %q", method, tc.origin, got)
			}
			if h.Get("Vary") != "Origin" {
				t.Errorf("%s from %q: Vary %q", method, tc.origin, h.Get("Vary"))
			}
			if asks := method == http.MethodOptions && tc.allowed; (h.Get("Access-Control-Allow-Headers") == "Authorization, If-None-Match") != asks {
				t.Errorf("%s from %q: headers %q", method, tc.origin, h.Get("Access-Control-Allow-Headers"))
			}
		}
	}
	if w := r.do(http.MethodOptions, "/v1/counts", "Host", "evil.example", "Origin", "https://a.dash.example"); w.Code != http.StatusForbidden {
		t.Errorf("preflight of a foreign host: %d", w.Code)
	}
}

func TestWaitsForATotal(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.ledger.syncing["a"] = true
		start := time.Now()
		wantProblem(t, r.get("/links/a/clicks"), 503, "syncing", "")
		if time.Since(start) != patience {
			t.Fatalf("refused after %v, want %v", time.Since(start), patience)
		}
		time.AfterFunc(300*time.Millisecond, func() { r.ledger.land("a") })
		start = time.Now()
		decode[linkAnswer](t, r.get("/links/a/clicks"))
		if time.Since(start) != 300*time.Millisecond {
			t.Fatalf("answered after %v, want 300ms: when the total was there", time.Since(start))
		}
		if n := r.ledger.watches["a"]; n != 1 {
			t.Fatalf("the total was read %d times for two requests, want once", n)
		}
	})
}

func TestMetricsAreWellNamed(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.get("/links/a/clicks")
	if problems, err := testutil.GatherAndLint(r.registry); err != nil || len(problems) > 0 {
		t.Fatalf("%v, %v", problems, err)
	}
	const requests = "linkpulse_gateway_rest_requests_total"
	if n, err := testutil.GatherAndCount(r.registry, requests); err != nil || n != 30 {
		t.Fatalf("%d series of requests, %v: one of each route and status", n, err)
	}
	if got := testutil.ToFloat64(r.handler.metrics.requests[routeClicks][http.StatusOK]); got != 1 {
		t.Fatalf("%v requests in the metrics, want 1", got)
	}
}
