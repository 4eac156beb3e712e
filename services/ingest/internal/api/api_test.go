package api

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/linkpulse/linkpulse/pkg/apikey"
	"github.com/linkpulse/linkpulse/pkg/apikey/keyring"
	"github.com/linkpulse/linkpulse/pkg/click"
	"github.com/linkpulse/linkpulse/pkg/contract"
	"github.com/linkpulse/linkpulse/pkg/kafkalog"
	"github.com/linkpulse/linkpulse/pkg/problem"
)

// memoryLog is a Log that keeps what it is given. fail decides the outcome of each message.
type memoryLog struct {
	ready error
	fail  func(i int, m *kafkalog.Message) error

	mu       sync.Mutex // guards what follows
	appended []kafkalog.Message
}

func (l *memoryLog) Append(messages []kafkalog.Message) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var first error
	for i := range messages {
		m := &messages[i]
		m.Err = nil
		if l.fail != nil {
			m.Err = l.fail(i, m)
		}
		if m.Err != nil {
			first = errors.Join(first, m.Err)
			continue
		}
		kept := *m // the message is only borrowed
		kept.Key, kept.Value, kept.Headers = []byte(string(m.Key)), []byte(string(m.Value)), nil
		for _, h := range m.Headers {
			kept.Headers = append(kept.Headers, kafkalog.Header{Key: h.Key, Value: []byte(string(h.Value))})
		}
		l.appended = append(l.appended, kept)
	}
	return first
}

func (l *memoryLog) Ready() error { return l.ready }

// curlBots takes only curl for a bot.
type curlBots struct{}

func (curlBots) Bot(ua []byte) bool { return strings.HasPrefix(string(ua), "curl/") }

// testKeys takes every request for anybody's, unless there are keys.
type testKeys struct {
	anybody *keyring.Key
	ring    *keyring.Ring
}

func (k *testKeys) Find(header http.Header, p *apikey.Presented, now time.Time) (*keyring.Key, error) {
	if k.ring == nil {
		return k.anybody, nil
	}
	return k.ring.Find(header, p, now)
}

const testPartitions = 12

// rig is a handler over a log in memory. Every answer of it is held against the contract.
type rig struct {
	tb       testing.TB
	contract *contract.HTTP
	handler  *Handler
	keys     *testKeys
	log      *memoryLog
	registry *prometheus.Registry
	router   http.Handler
}

func defaultLimits() Limits {
	return Limits{MaxBody: 1 << 20, MaxClicks: 1000, MaxMemory: 16 << 20, RetryAfter: time.Second}
}

var (
	contractOnce sync.Once
	contractDoc  *contract.HTTP
)

// openAPI loads the contract once: that takes longer than most tests.
func openAPI(tb testing.TB) *contract.HTTP {
	tb.Helper()
	contractOnce.Do(func() { contractDoc = contract.OpenAPI(tb) })
	return contractDoc
}

func newRig(tb testing.TB, limits Limits) *rig {
	tb.Helper()
	r := &rig{tb: tb, contract: openAPI(tb), keys: &testKeys{anybody: keyring.Anybody()}, log: &memoryLog{}, registry: prometheus.NewRegistry()}
	var err error
	if r.handler, err = New(limits, r.keys, curlBots{}, r.registry); err != nil {
		tb.Fatal(err)
	}
	r.handler.Open(r.log, testPartitions)
	router := chi.NewRouter()
	r.handler.Routes(router)
	r.router = router
	return r
}

// post sends a body of JSON unless the headers say otherwise.
func (r *rig) post(body string, header ...string) *httptest.ResponseRecorder {
	return r.do(newRequest(body, header...))
}

func newRequest(body string, header ...string) *http.Request {
	req := httptest.NewRequest(http.MethodPost, "/v1/clicks", strings.NewReader(body))
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
		if header[i+1] == "" {
			req.Header.Del(header[i])
		}
	}
	return req
}

func (r *rig) do(req *http.Request) *httptest.ResponseRecorder {
	r.tb.Helper()
	w := httptest.NewRecorder()
	r.router.ServeHTTP(w, req)
	r.contract.ValidateRecorded(r.tb, req, w)
	return w
}

// metric returns the value of a counter or gauge, or the count of a histogram, by name and label values.
func (r *rig) metric(t *testing.T, name string, labels ...string) float64 {
	t.Helper()
	families, err := r.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "linkpulse_ingest_"+name {
			continue
		}
		for _, m := range f.Metric {
			if labelled(m, labels) {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	t.Fatalf("there is no metric %s %v", name, labels)
	return 0
}

func labelled(m *dto.Metric, values []string) bool {
	if len(m.Label) != len(values) {
		return false
	}
	for i, l := range m.Label {
		if l.GetValue() != values[i] {
			return false
		}
	}
	return true
}

type answer struct {
	Accepted int
	IDs      []string
	Type     string
	Title    string
	Status   int
	Detail   string
	Code     string
	Index    *int
	Rule     string
	Results  []problem.Result
}

func decodeAnswer(t *testing.T, w *httptest.ResponseRecorder) (a answer) {
	t.Helper()
	if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil {
		t.Fatalf("answer %d %q: %v", w.Code, w.Body, err)
	}
	if w.Code == http.StatusAccepted {
		if ct := w.Header().Get("Content-Type"); ct != "application/json" {
			t.Fatalf("Content-Type %q", ct)
		}
		return a
	}
	if a.Status != w.Code || a.Type != "urn:linkpulse:problem:"+a.Code || a.Detail == "" || w.Header().Get("Content-Type") != problem.ContentType {
		t.Fatalf("no whole problem: %d %v %s", w.Code, w.Header(), w.Body)
	}
	return a
}

const (
	someID  = "0198c0de-1234-7abc-8def-000102030405"
	otherID = "0198c0de-1234-7abc-8def-000102030406"
)

func TestAccepted(t *testing.T) {
	t.Parallel()
	whole := `{"link":"x7Kp2","id":"` + strings.ToUpper(someID) + `","at":"2026-01-31T12:00:00.25Z","referrer":"https://u:p@News.Example:8443/story?q=1","country":"de","user_agent":"curl/8.5.0"}`
	parsed, err := click.ParseID(someID)
	if err != nil {
		t.Fatal(err)
	}
	atMs := time.Date(2026, 1, 31, 12, 0, 0, 250e6, time.UTC).UnixMilli()
	full := click.Record{ID: parsed, Bot: true, AtMs: atMs, Country: "DE", ReferrerHost: "news.example"}
	type one struct {
		link   string
		record click.Record // without an ID: one must have been minted
	}
	for _, tc := range []struct {
		name, body string
		header     []string
		want       []one
	}{
		{"the smallest", `{"link":"x7Kp2"}`, nil, []one{{link: "x7Kp2"}}},
		{"every field", whole, nil, []one{{"x7Kp2", full}}},
		{"no content type", `{"link":"a"}`, []string{"Content-Type", ""}, []one{{link: "a"}}},
		{"charset", `{"link":"a"}`, []string{"Content-Type", "Application/JSON; charset=UTF-8"}, []one{{link: "a"}}},
		{"identity", `{"link":"a"}`, []string{"Content-Encoding", "identity"}, []one{{link: "a"}}},
		{"array", ` [ {"link":"a"} , {"link":"b"},{"link":"a"}]` + "\n", nil, []one{{link: "a"}, {link: "b"}, {link: "a"}}},
		{"lines", "{\"link\":\"a\"}\n\r\n \n{\"link\":\"b\"}\r\n" + whole, []string{"Content-Type", "application/x-ndjson"}, []one{{link: "a"}, {link: "b"}, {"x7Kp2", full}}},
		{"escapes", `{"l\u0069nk":"x7\u004bp2","referrer":"https:\/\/a.example\/\ud83d\ude00"}`, nil, []one{{"x7Kp2", click.Record{ReferrerHost: "a.example"}}}},
		{"bot by agent", `{"link":"a","user_agent":"curl/8"}`, nil, []one{{"a", click.Record{Bot: true}}}},
		{"bot by word", `{"link":"a","bot":true,"user_agent":"Mozilla/5.0"}`, nil, []one{{"a", click.Record{Bot: true}}}},
		{"no bot by word", `{"link":"a","user_agent":"curl/8","bot":false}`, nil, []one{{link: "a"}}},
		{"referrer that is no URL", `{"link":"a","referrer":"about:blank"}`, nil, []one{{link: "a"}}},
		{"empty texts", `{"link":"a","referrer":"","user_agent":""}`, nil, []one{{link: "a"}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, defaultLimits())
			r.contract.ValidateRequest(t, newRequest(tc.body, tc.header...))
			before := time.Now().UnixMilli()
			w := r.post(tc.body, tc.header...)
			after := time.Now().UnixMilli()
			a := decodeAnswer(t, w)
			if w.Code != http.StatusAccepted || a.Accepted != len(tc.want) || len(a.IDs) != len(tc.want) || len(r.log.appended) != len(tc.want) {
				t.Fatalf("answer %d %s with %d appended, want %d accepted", w.Code, w.Body, len(r.log.appended), len(tc.want))
			}
			for i, m := range r.log.appended {
				got, err := click.Decode(m.Key, m.Value)
				if err != nil {
					t.Fatal(err)
				}
				want := tc.want[i]
				if want.record.ID.IsZero() {
					want.record.ID = got.ID
					if got.ID.IsZero() || got.ID.String()[14] != '7' || !strings.ContainsRune("89ab", rune(got.ID.String()[19])) {
						t.Errorf("minted %v, which is no UUIDv7", got.ID)
					}
				}
				if string(m.Key) != want.link || got != want.record || a.IDs[i] != got.ID.String() {
					t.Errorf("appended %s %+v as %s, want %s %+v", m.Key, got, a.IDs[i], want.link, want.record)
				}
				if m.Partition != click.Partition(want.link, testPartitions) || m.TimeMs < before || m.TimeMs > after || m.Headers != nil {
					t.Errorf("partition %d, time %d, headers %v", m.Partition, m.TimeMs, m.Headers)
				}
			}
			if got := r.metric(t, "accepted_clicks_total"); got != float64(len(tc.want)) {
				t.Errorf("%v clicks in the metric, want %d", got, len(tc.want))
			}
		})
	}
}

func TestMintedIDsDiffer(t *testing.T) {
	t.Parallel()
	r := newRig(t, defaultLimits())
	seen := map[string]bool{}
	for range 3 {
		for _, id := range decodeAnswer(t, r.post(`[{"link":"a"},{"link":"a"},{"link":"a","id":"`+someID+`"}]`)).IDs[:2] {
			if seen[id] || id == someID {
				t.Fatalf("%s was given twice", id)
			}
			seen[id] = true
		}
	}
}

// beyondSchema are refusals that a schema, or a reader of JSON that is less strict, cannot see, or that this test's own
// limits cause.
var beyondSchema = map[string]bool{
	"bad UTF-8": true, "half a pair": true, "twice": true, "twice in disguise": true, "two documents": true, "lines: two on one": true,
	"no such day": true, "offset of 24 hours": true, "broken type": true, "other charset": true, "gzip": true,
	"large body": true, "four clicks": true, "four lines": true,
}

func TestRefused(t *testing.T) {
	t.Parallel()
	limits := defaultLimits()
	limits.MaxBody, limits.MaxClicks = 64<<10, 3
	long := func(field string, n int) string {
		return `{"link":"a","` + field + `":"` + strings.Repeat("x", n) + `"}`
	}
	lines := []string{"Content-Type", "application/x-ndjson"}
	for _, tc := range []struct {
		name, body string
		header     []string
		status     int
		code       string
		index      int // -1: none
		rule       string
	}{
		{"empty body", "", nil, 400, "malformed_json", -1, ""},
		{"no JSON", "link=a", nil, 400, "malformed_json", -1, ""},
		{"cut", `{"link":"a"`, nil, 400, "malformed_json", 0, ""},
		{"cut later", `[{"link":"a"},{"link"`, nil, 400, "malformed_json", 1, ""},
		{"two documents", `{"link":"a"} {"link":"b"}`, nil, 400, "malformed_json", -1, ""},
		{"bad UTF-8", "{\"link\":\"a\",\"user_agent\":\"\xff\"}", nil, 400, "malformed_json", -1, ""},
		{"rule broken, then no JSON", `[{"link":"a b"},{"link"]`, nil, 400, "malformed_json", -1, ""},
		{"lines: two on one", `{"link":"a"} {"link":"b"}`, lines, 400, "malformed_json", 1, ""},
		{"lines: one on two", "{\"link\":\n\"a\"}", lines, 400, "malformed_json", 0, ""},

		{"a string", `"x7Kp2"`, nil, 422, "invalid_click", -1, "shape"},
		{"null", `null`, nil, 422, "invalid_click", -1, "shape"},
		{"array of strings", `[{"link":"a"},"x7Kp2"]`, nil, 422, "invalid_click", 1, "shape"},
		{"array in a line", `[{"link":"a"}]`, lines, 422, "invalid_click", 0, "shape"},
		{"empty array", `[]`, nil, 422, "empty_batch", -1, ""},
		{"no lines", "\n \r\n", lines, 422, "empty_batch", -1, ""},
		{"no link", `{}`, nil, 422, "invalid_click", 0, "required"},
		{"no link either", `[{"link":"a"},{"bot":true}]`, nil, 422, "invalid_click", 1, "required"},
		{"unknown field", `{"link":"a","ua":"x"}`, nil, 422, "invalid_click", 0, "unknown_field"},
		{"other case", `{"Link":"a"}`, nil, 422, "invalid_click", 0, "unknown_field"},
		{"twice", `{"link":"a","link":"a"}`, nil, 422, "invalid_click", 0, "duplicate_field"},
		{"twice in disguise", `{"link":"a","l\u0069nk":"b"}`, nil, 422, "invalid_click", 0, "duplicate_field"},
		{"number for link", `{"link":7}`, nil, 422, "invalid_click", 0, "type"},
		{"null for id", `{"link":"a","id":null}`, nil, 422, "invalid_click", 0, "type"},
		{"object for referrer", `{"link":"a","referrer":{}}`, nil, 422, "invalid_click", 0, "type"},
		{"string for bot", `{"link":"a","bot":"true"}`, nil, 422, "invalid_click", 0, "type"},
		{"half a pair", `{"link":"a","user_agent":"\ud83d"}`, nil, 422, "invalid_click", 0, "text"},
		{"empty link", `{"link":""}`, nil, 422, "invalid_click", 0, "link"},
		{"link with a slash", `[{"link":"a"},{"link":"a/b"}]`, nil, 422, "invalid_click", 1, "link"},
		{"link of 129", `{"link":"` + strings.Repeat("x", 129) + `"}`, nil, 422, "invalid_click", 0, "link"},
		{"URN for id", `{"link":"a","id":"urn:uuid:` + someID + `"}`, nil, 422, "invalid_click", 0, "id"},
		{"bare hex for id", `{"link":"a","id":"` + strings.ReplaceAll(someID, "-", "") + `"}`, nil, 422, "invalid_click", 0, "id"},
		{"zero id", `{"link":"a","id":"00000000-0000-0000-0000-000000000000"}`, nil, 422, "invalid_click", 0, "id"},
		{"at without zone", `{"link":"a","at":"2026-01-31T12:00:00"}`, nil, 422, "invalid_click", 0, "at"},
		{"no such day", `{"link":"a","at":"2026-02-30T12:00:00Z"}`, nil, 422, "invalid_click", 0, "at"},
		{"hour of one digit", `{"link":"a","at":"2026-02-28T1:00:00Z"}`, nil, 422, "invalid_click", 0, "at"},
		{"fraction of no digit", `{"link":"a","at":"2026-02-28T01:00:00.Z"}`, nil, 422, "invalid_click", 0, "at"},
		{"offset of 24 hours", `{"link":"a","at":"2026-02-28T01:00:00+24:00"}`, nil, 422, "invalid_click", 0, "at"},
		{"country of three letters", `{"link":"a","country":"DEU"}`, nil, 422, "invalid_click", 0, "country"},
		{"country of digits", `{"link":"a","country":"49"}`, nil, 422, "invalid_click", 0, "country"},
		{"long referrer", long("referrer", 2049), nil, 422, "invalid_click", 0, "referrer"},
		{"long user agent", long("user_agent", 1025), nil, 422, "invalid_click", 0, "user_agent"},

		{"four clicks", `[{"link":"a"},{"link":"a"},{"link":"a"},{"link":"a"}]`, nil, 413, "too_many_clicks", -1, ""},
		{"four lines", strings.Repeat("{\"link\":\"a\"}\n", 4), lines, 413, "too_many_clicks", -1, ""},
		{"large body", `{"link":"a"` + strings.Repeat(" ", 64<<10) + "}", nil, 413, "body_too_large", -1, ""},
		{"form", "link=a", []string{"Content-Type", "application/x-www-form-urlencoded"}, 415, "unsupported_media_type", -1, ""},
		{"other charset", `{"link":"a"}`, []string{"Content-Type", "application/json; charset=latin1"}, 415, "unsupported_media_type", -1, ""},
		{"broken type", `{"link":"a"}`, []string{"Content-Type", "application/json; ="}, 415, "unsupported_media_type", -1, ""},
		{"gzip", `{"link":"a"}`, []string{"Content-Encoding", "gzip"}, 415, "unsupported_content_encoding", -1, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, limits)
			w := r.post(tc.body, tc.header...)
			a := decodeAnswer(t, w)
			index := -1
			if a.Index != nil {
				index = *a.Index
			}
			if w.Code != tc.status || a.Code != tc.code || index != tc.index || a.Rule != tc.rule || a.Results != nil {
				t.Errorf("answer %d %s, want %d %s, index %d, rule %q", w.Code, w.Body, tc.status, tc.code, tc.index, tc.rule)
			}
			if err := r.contract.CheckRequest(newRequest(tc.body, tc.header...)); err == nil && !beyondSchema[tc.name] {
				t.Error("refused what the contract allows")
			}
			if len(r.log.appended) != 0 {
				t.Errorf("%d clicks of a refused request were appended", len(r.log.appended))
			}
			if got := r.metric(t, "refused_requests_total", tc.code); got != 1 {
				t.Errorf("%v refusals in the metric, want 1", got)
			}
			if got := r.metric(t, "requests_total", strconv.Itoa(tc.status)); got != 1 {
				t.Errorf("%v answers in the metric, want 1", got)
			}
			if w.Header().Get("Retry-After") != "" {
				t.Error("asked to try again what fails again")
			}
		})
	}
}

// Limits hold to the byte and to the click.
func TestLimitsAreInclusive(t *testing.T) {
	t.Parallel()
	limits := defaultLimits()
	for _, body := range []string{
		`{"link":"` + strings.Repeat("x", click.MaxLinkLen) + `"}`,
		`{"link":"a","referrer":"` + strings.Repeat("x", maxReferrer) + `","user_agent":"` + strings.Repeat("y", maxUserAgent) + `"}`,
		"[" + strings.Repeat(`{"link":"a"},`, limits.MaxClicks-1) + `{"link":"a"}]`,
		`{"link":"a"` + strings.Repeat(" ", limits.MaxBody-len(`{"link":"a"}`)) + "}",
	} {
		r := newRig(t, limits)
		if w := r.post(body); w.Code != http.StatusAccepted {
			t.Errorf("answer %d %s to %d bytes that begin %.60s", w.Code, w.Body, len(body), body)
		}
		// The same without a Content-Length.
		req := httptest.NewRequest(http.MethodPost, "/v1/clicks", io.MultiReader(strings.NewReader(body)))
		req.ContentLength = -1
		if w := r.do(req); w.Code != http.StatusAccepted {
			t.Errorf("chunked: answer %d %s to %d bytes that begin %.60s", w.Code, w.Body, len(body), body)
		}
		if used := r.metric(t, "request_memory_bytes"); used != 0 {
			t.Errorf("%v bytes are still taken after the answer", used)
		}
	}
}
