package contract

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
)

const (
	lines  = "application/x-ndjson"
	object = "application/json"
	id     = "0198c0de-0000-7000-8000-000000000001"
)

func post(contentType, body string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "http://ingest.example:1/v1/clicks", strings.NewReader(body))
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	return r
}

// answer is what a handler would have answered.
func answer(status int, contentType, body string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	if contentType != "" {
		w.Header().Set("Content-Type", contentType)
	}
	w.Header().Set("Retry-After", "1")
	w.Header().Set("WWW-Authenticate", `Bearer realm="linkpulse", error="invalid_token"`)
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body) // a recorder takes it
	return w
}

func TestRequests(t *testing.T) {
	t.Parallel()
	h := OpenAPI(t)
	full := `{"link":"acme:x7Kp2","id":"` + id + `","at":"2026-01-31T12:00:00.250+01:00","referrer":"https://news.example/a?b",` +
		`"country":"DE","user_agent":"Mozilla/5.0","bot":true}`
	for _, r := range []*http.Request{
		post(object, `{"link":"x7Kp2"}`),
		post("", `{"link":"x7Kp2"}`),
		post("application/json; charset=utf-8", full),
		post(object, `[{"link":"x7Kp2"},`+full+`]`),
		post(lines, "{\"link\":\"x7Kp2\"}\n\n"+full),
		post(object, `{"link":"x7Kp2","id":"`+strings.ToUpper(id)+`"}`),
		httptest.NewRequest(http.MethodGet, "/livez", nil),
		httptest.NewRequest(http.MethodGet, "/?links=a,b", nil),
		httptest.NewRequest(http.MethodGet, "/assets/main.js", nil),
		httptest.NewRequest(http.MethodGet, "/ws", nil),
	} {
		h.ValidateRequest(t, r)
		if r.Method == http.MethodPost {
			if b, err := io.ReadAll(r.Body); err != nil || len(b) == 0 {
				t.Errorf("the body was taken away: %q, %v", b, err)
			}
		}
	}
	many := strings.Repeat(`{"link":"x7Kp2"},`, 1001)
	for name, r := range map[string]*http.Request{
		"no link":          post(object, `{}`),
		"misspelt":         post(object, `{"link":"x7Kp2","refferer":"https://news.example"}`),
		"null":             post(object, `{"link":"x7Kp2","country":null}`),
		"bad link":         post(object, `{"link":"x7 Kp2"}`),
		"long link":        post(object, `{"link":"`+strings.Repeat("L", 129)+`"}`),
		"id not a uuid":    post(object, `{"link":"x7Kp2","id":"1"}`),
		"id in braces":     post(object, `{"link":"x7Kp2","id":"{`+id+`}"}`),
		"id of zeros":      post(object, `{"link":"x7Kp2","id":"00000000-0000-0000-0000-000000000000"}`),
		"at no time":       post(object, `{"link":"x7Kp2","at":"yesterday"}`),
		"at a number":      post(object, `{"link":"x7Kp2","at":1769860804250}`),
		"country":          post(object, `{"link":"x7Kp2","country":"DEU"}`),
		"long referrer":    post(object, `{"link":"x7Kp2","referrer":"`+strings.Repeat("r", 2049)+`"}`),
		"bot a string":     post(object, `{"link":"x7Kp2","bot":"yes"}`),
		"empty array":      post(object, `[]`),
		"bad in array":     post(object, `[{"link":"x7Kp2"},{"lnk":"x7Kp2"}]`),
		"too many":         post(object, `[`+strings.TrimSuffix(many, ",")+`]`),
		"no lines":         post(lines, "\n"),
		"a bad line":       post(lines, "{\"link\":\"x7Kp2\"}\n{\"link\":7}\n"),
		"an array a line":  post(lines, `[{"link":"x7Kp2"}]`),
		"not JSON":         post(object, `link=x7Kp2`),
		"another type":     post("application/x-www-form-urlencoded", `link=x7Kp2`),
		"another method":   httptest.NewRequest(http.MethodPut, "/v1/clicks", strings.NewReader(`{"link":"a"}`)),
		"another resource": httptest.NewRequest(http.MethodGet, "/v1/click", nil),
	} {
		if h.CheckRequest(r) == nil {
			t.Errorf("%s passes", name)
		}
	}
}

// A request carries credentials or it does not; whether they are good is not for the contract.
func TestAuthenticated(t *testing.T) {
	t.Parallel()
	bearer := &openapi3.SecurityScheme{Type: "http", Scheme: "bearer"}
	signature := &openapi3.SecurityScheme{Type: "apiKey", In: "header", Name: "Linkpulse-Signature"}
	for _, tc := range []struct {
		scheme      *openapi3.SecurityScheme
		name, value string
		ok          bool
	}{
		{bearer, "Authorization", "Bearer x", true},
		{bearer, "Authorization", "bEARER x", true},
		{bearer, "Authorization", "Bearer ", false},
		{bearer, "Authorization", "Basic x", false},
		{bearer, "X", "Bearer x", false},
		{signature, "Linkpulse-Signature", "x", true},
		{signature, "Linkpulse-Signature", "", false},
		{signature, "Authorization", "Bearer x", false},
	} {
		r := post(object, `{"link":"a"}`)
		r.Header.Set(tc.name, tc.value)
		err := authenticated(t.Context(), &openapi3filter.AuthenticationInput{
			RequestValidationInput: &openapi3filter.RequestValidationInput{Request: r}, SecurityScheme: tc.scheme,
		})
		if (err == nil) != tc.ok {
			t.Errorf("%s: %q of %s: %v", tc.name, tc.value, tc.scheme.Type, err)
		}
	}
}

func problem(code string, status int, more string) string {
	return fmt.Sprintf(`{"type":"urn:linkpulse:problem:%s","title":"t","status":%d,"detail":"d","code":"%s"%s}`, code, status, code, more)
}

func TestResponses(t *testing.T) {
	t.Parallel()
	h := OpenAPI(t)
	const doc = "application/problem+json"
	result := func(index int, rest string) string { return fmt.Sprintf(`{"index":%d,"id":"%s",%s}`, index, id, rest) }
	results := `,"results":[` + result(0, `"status":"accepted"`) + `,` + result(1, `"status":"failed","code":"queue_full"`) + `]`
	for _, w := range []*httptest.ResponseRecorder{
		answer(202, object, `{"accepted":1,"ids":["`+id+`"]}`),
		answer(400, doc, problem("malformed_json", 400, "")),
		answer(413, doc, problem("body_too_large", 413, "")),
		answer(401, doc, problem("unauthenticated", 401, "")),
		answer(401, doc, problem("bad_key", 401, `,"rule":"expired"`)),
		answer(403, doc, problem("link_not_granted", 403, `,"index":3`)),
		answer(415, doc, problem("unsupported_media_type", 415, "")),
		answer(422, doc, problem("invalid_click", 422, `,"index":3,"rule":"link"`)),
		answer(422, doc, problem("empty_batch", 422, "")),
		answer(429, doc, problem("rate_limited", 429, "")),
		answer(503, doc, problem("queue_full", 503, "")),
		answer(503, doc, problem("unavailable", 503, results)),
		answer(500, doc, problem("internal", 500, "")),
	} {
		h.ValidateRecorded(t, post(object, `{"link":"a"}`), w)
	}
	bare := func(status int, code, more string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		w.Header().Set("Content-Type", doc)
		w.WriteHeader(status)
		_, _ = w.WriteString(problem(code, status, more)) // a recorder takes it
		return w
	}
	for name, w := range map[string]*httptest.ResponseRecorder{
		"another status":         answer(200, object, `{"accepted":1,"ids":["`+id+`"]}`),
		"no ids":                 answer(202, object, `{"accepted":1}`),
		"misspelt member":        answer(202, object, `{"accepted":1,"idz":["`+id+`"],"ids":["`+id+`"]}`),
		"short id":               answer(202, object, `{"accepted":1,"ids":["1"]}`),
		"no JSON":                answer(202, object, `accepted`),
		"another media type":     answer(202, "text/plain", `{"accepted":1,"ids":["`+id+`"]}`),
		"plain text as an error": answer(400, "text/plain", "bad"),
		"problem without code":   answer(400, doc, `{"type":"urn:linkpulse:problem:x","title":"t","status":400,"detail":"d"}`),
		"type not of the code":   answer(400, doc, strings.Replace(problem("malformed_json", 400, ""), "urn:", "https:", 1)),
		"code of another status": answer(400, doc, problem("queue_full", 400, "")),
		"status in the body":     answer(413, doc, problem("body_too_large", 400, "")),
		"no rule":                answer(422, doc, problem("invalid_click", 422, `,"index":3`)),
		"unknown rule":           answer(422, doc, problem("invalid_click", 422, `,"index":3,"rule":"lnk"`)),
		"negative index":         answer(422, doc, problem("invalid_click", 422, `,"index":-1,"rule":"link"`)),
		"no Retry-After":         bare(503, "busy", ""),
		"no pace":                bare(429, "rate_limited", ""),
		"no challenge":           bare(401, "unauthenticated", ""),
		"wrong in no way":        answer(401, doc, problem("bad_key", 401, "")),
		"wrong in another way":   answer(401, doc, problem("bad_key", 401, `,"rule":"grants"`)),
		"which click":            answer(403, doc, problem("link_not_granted", 403, "")),
		"result without status":  answer(503, doc, problem("unavailable", 503, `,"results":[`+result(0, `"code":"closing"`)+`]`)),
		"failure without a code": answer(503, doc, problem("unavailable", 503, `,"results":[`+result(0, `"status":"failed"`)+`]`)),
		"success with a code": answer(503, doc, problem("unavailable", 503,
			`,"results":[`+result(0, `"status":"accepted","code":"closing"`)+`]`)),
	} {
		if h.CheckRecorded(post(object, `{"link":"a"}`), w) == nil {
			t.Errorf("%s passes", name)
		}
	}
}

func TestHealthAndHandshakeResponses(t *testing.T) {
	t.Parallel()
	h := OpenAPI(t)
	get := func(path string) *http.Request { return httptest.NewRequest(http.MethodGet, path, nil) }
	h.ValidateRecorded(t, get("/livez"), answer(200, object, `{"status":"alive"}`))
	h.ValidateRecorded(t, get("/readyz"), answer(200, object, `{"status":"ready","checks":[{"name":"kafka","ok":true}]}`))
	h.ValidateRecorded(t, get("/readyz"), answer(503, object, `{"status":"unready","checks":[{"name":"kafka","ok":false,"reason":"no leader"}]}`))
	h.ValidateRecorded(t, get("/"), answer(200, "text/html; charset=utf-8", "<!doctype html>"))
	h.ValidateRecorded(t, get("/assets/main.js"), answer(200, "text/javascript; charset=utf-8", "1"))
	h.ValidateRecorded(t, get("/ws"), answer(503, "application/problem+json", problem("unavailable", 503, "")))
	with := func(status int, body string, header ...string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(status)
		_, _ = w.WriteString(body) // a recorder takes it
		return w
	}
	h.ValidateRecorded(t, get("/ws"), with(426, problem("upgrade_required", 426, ""), "Content-Type", "application/problem+json",
		"Upgrade", "websocket", "Connection", "Upgrade", "Sec-WebSocket-Version", "13"))
	upgrade := func(to string) *httptest.ResponseRecorder {
		return with(101, "", "Upgrade", to, "Connection", "Upgrade", "Sec-WebSocket-Accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
	}
	h.ValidateRecorded(t, get("/ws"), upgrade("websocket"))
	for name, err := range map[string]error{
		"another upgrade": h.CheckRecorded(get("/ws"), upgrade("h2c")),
		"426 as text":     h.CheckRecorded(get("/ws"), with(426, "no", "Content-Type", "text/plain", "Upgrade", "websocket", "Connection", "Upgrade", "Sec-WebSocket-Version", "13")),
		"426 to nowhere":  h.CheckRecorded(get("/ws"), with(426, problem("upgrade_required", 426, ""), "Content-Type", "application/problem+json")),
		"ready with 503":  h.CheckRecorded(get("/readyz"), answer(503, object, `{"status":"ready","checks":[]}`)),
		"no checks":       h.CheckRecorded(get("/readyz"), answer(200, object, `{"status":"ready"}`)),
	} {
		if err == nil {
			t.Errorf("%s passes", name)
		}
	}
}

// complaints is a TB that collects what a test would have failed with.
type complaints struct {
	testing.TB
	list []string
}

func (c *complaints) Helper()           {}
func (c *complaints) Error(args ...any) { c.list = append(c.list, fmt.Sprint(args...)) }

func (c *complaints) Errorf(format string, args ...any) {
	c.list = append(c.list, fmt.Sprintf(format, args...))
}

func TestTransport(t *testing.T) {
	t.Parallel()
	h := OpenAPI(t)
	for name, tc := range map[string]struct {
		request *http.Request
		answer  *httptest.ResponseRecorder
		want    string // of the one complaint, empty: none
	}{
		"in order":              {post(object, `{"link":"a"}`), answer(202, object, `{"accepted":1,"ids":["`+id+`"]}`), ""},
		"refused in order":      {post(object, `{"lnk":"a"}`), answer(422, "application/problem+json", problem("invalid_click", 422, `,"rule":"link"`)), ""},
		"taken against the law": {post(object, `{"lnk":"a"}`), answer(202, object, `{"accepted":1,"ids":["`+id+`"]}`), "although"},
		"answer of its own":     {post(object, `{"link":"a"}`), answer(202, object, `{"ok":true}`), "answer 202"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			said := &complaints{TB: t}
			client := http.Client{Transport: h.Transport(said, roundTripper(func(r *http.Request) (*http.Response, error) {
				if b, err := io.ReadAll(r.Body); err != nil || len(b) == 0 {
					t.Errorf("the server saw %q, %v", b, err)
				}
				return tc.answer.Result(), nil
			}))}
			tc.request.RequestURI = ""
			resp, err := client.Do(tc.request)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if b, err := io.ReadAll(resp.Body); err != nil || len(b) == 0 {
				t.Errorf("the client saw %q, %v", b, err)
			}
			if tc.want == "" && len(said.list) > 0 || tc.want != "" && (len(said.list) != 1 || !strings.Contains(said.list[0], tc.want)) {
				t.Errorf("complaints %q, want one with %q", said.list, tc.want)
			}
		})
	}
}

// The document is checked too, its examples included.
func TestOpenAPIDocument(t *testing.T) {
	t.Parallel()
	text := document(t, "openapi.yaml")
	load := func(text string) error {
		doc, err := openapi3.NewLoader().LoadFromData([]byte(text))
		if err != nil {
			return err
		}
		_, err = newHTTP(doc)
		return err
	}
	if err := load(text); err != nil {
		t.Fatal(err)
	}
	for part, with := range map[string]string{
		"      operationId: postClicks":   "      operationID: postClicks",
		"            maxLength: 2048":     "            maxLenght: 2048",
		"value: {link: x7Kp2}":            "value: {lnk: x7Kp2}",
		"      requestBody:":              "      requestbody:",
		"#/components/schemas/Accepted\"": "#/components/schemas/Acepted\"",
	} {
		if !strings.Contains(text, part) {
			part, with = strings.TrimSpace(part), strings.TrimSpace(with)
		}
		if load(planted(t, text, part, with)) == nil {
			t.Errorf("a document with %q instead of %q passes", with, part)
		}
	}
}
