package web

import (
	"bytes"
	"compress/gzip"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func get(t *testing.T, h http.Handler, path, etag string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, path, http.NoBody)
	if etag != "" {
		r.Header.Set("If-None-Match", etag)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestPageAndItsFiles(t *testing.T) {
	t.Parallel()
	h, err := Handler(Config{Links: []string{"x7Kp2", "acme:~a"}})
	if err != nil {
		t.Fatal(err)
	}
	page := get(t, h, "/", "")
	if body := page.Body.String(); page.Code != http.StatusOK || !strings.Contains(body, `data-links="x7Kp2,acme:~a"`) || !strings.Contains(body, `data-token=""`) {
		t.Fatalf("page: %d\n%s", page.Code, page.Body)
	}
	for path, contentType := range map[string]string{
		"/": "text/html", "/assets/page.js": "text/javascript", "/assets/page.css": "text/css", "/assets/icon.svg": "image/svg+xml",
	} {
		w := get(t, h, path, "")
		if w.Code != http.StatusOK || !strings.HasPrefix(w.Header().Get("Content-Type"), contentType) {
			t.Errorf("%s: %d %s", path, w.Code, w.Header().Get("Content-Type"))
		}
		if csp := w.Header().Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") {
			t.Errorf("%s: policy %q", path, csp)
		}
		if again := get(t, h, path, w.Header().Get("ETag")); again.Code != http.StatusNotModified || again.Body.Len() != 0 {
			t.Errorf("%s asked again: %d with %d bytes", path, again.Code, again.Body.Len())
		}
	}
	for _, path := range []string{"/index.html", "/assets/", "/assets/index.html", "/assets/../embed.go"} {
		if w := get(t, h, path, ""); w.Code == http.StatusOK {
			t.Errorf("%s is served", path)
		}
	}
}

// Whoever can load the page has its token, so whoever came by another name must not get the page.
func TestTokenInThePage(t *testing.T) {
	t.Parallel()
	h, err := Handler(Config{Token: `a.b.c"><script>`, HostAllowed: func(host string) bool { return host == "127.0.0.1:8081" }})
	if err != nil {
		t.Fatal(err)
	}
	ask := func(host string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(http.MethodGet, "/", http.NoBody)
		r.Host = host
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w
	}
	if w := ask("127.0.0.1:8081"); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), `data-token="a.b.c&#34;&gt;&lt;script&gt;"`) {
		t.Errorf("by its own name: %d\n%.400s", w.Code, w.Body)
	}
	if w := ask("evil.example:8081"); w.Code != http.StatusForbidden || strings.Contains(w.Body.String(), "a.b.c") {
		t.Errorf("by another name: %d %s", w.Code, w.Body)
	}
}

func TestWrongDefaultLinkIsRefused(t *testing.T) {
	t.Parallel()
	if _, err := Handler(Config{Links: []string{"ok", `"><script>`}}); err == nil || !strings.Contains(err.Error(), "page link 1") {
		t.Fatalf("Handler = %v", err)
	}
}

// The first load must stay small: it is what a person waits for.
func TestFirstLoadBudget(t *testing.T) {
	t.Parallel()
	const budget = 12 << 10
	h, err := Handler(Config{})
	if err != nil {
		t.Fatal(err)
	}
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	for _, path := range []string{"/", "/assets/page.js", "/assets/page.css", "/assets/icon.svg"} {
		if _, err := z.Write(get(t, h, path, "").Body.Bytes()); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	if zipped.Len() > budget {
		t.Fatalf("the first load is %d bytes gzipped, at most %d", zipped.Len(), budget)
	}
	t.Logf("first load: %d bytes gzipped of %d", zipped.Len(), budget)
}
