// Package web is the gateway's page of live counters: one document, one script, one style sheet, built from src into dist
// by `make page` and embedded, so that `go build` needs nothing but Go.
package web

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"html/template"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strings"

	"github.com/linkpulse/linkpulse/pkg/click"
	"github.com/linkpulse/linkpulse/pkg/problem"
)

//go:embed dist
var dist embed.FS

// policy allows what the page does and nothing else: its own files, and a WebSocket to where it came from. It may be
// framed by nobody.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// Config of the page.
type Config struct {
	// Links are what the page shows when its address names none; they must be link ids.
	Links []string
	// Token is a token that the page shows to its gateway without asking anybody for one, empty: there is none. Whoever can
	// load the page has it, so it is for a gateway that nobody but its developer can reach.
	Token string
	// HostAllowed tells whether the Host header names this gateway, nil: any does. It keeps the token from a page of
	// somebody else's whose name was made to point here (DNS rebinding).
	HostAllowed func(host string) bool
}

// Handler serves the page at / and its files below /assets/. It is safe for concurrent use.
func Handler(cfg Config) (http.Handler, error) {
	for i, l := range cfg.Links {
		if err := click.CheckLink(l); err != nil {
			return nil, fmt.Errorf("page link %d: %w", i, err)
		}
	}
	files, err := fs.Sub(dist, "dist")
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	document, err := render(files, cfg)
	if err != nil {
		return nil, err
	}
	page := serve("text/html; charset=utf-8", document)
	if cfg.Token != "" && cfg.HostAllowed != nil {
		page = onlyFor(cfg.HostAllowed, page)
	}
	mux.Handle("GET /{$}", page)
	entries, err := fs.ReadDir(files, ".")
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if e.Name() == "index.html" {
			continue
		}
		content, err := fs.ReadFile(files, e.Name())
		if err != nil {
			return nil, err
		}
		mux.Handle("GET /assets/"+e.Name(), serve(mime.TypeByExtension(path.Ext(e.Name())), content))
	}
	return mux, nil
}

// render fills the page in once: what it says does not change while the gateway lives.
func render(files fs.FS, cfg Config) ([]byte, error) {
	t, err := template.ParseFS(files, "index.html")
	if err != nil {
		return nil, fmt.Errorf("reading the page: %w", err)
	}
	var b bytes.Buffer
	if err := t.Execute(&b, struct{ Links, Token string }{strings.Join(cfg.Links, ","), cfg.Token}); err != nil {
		return nil, fmt.Errorf("rendering the page: %w", err)
	}
	return b.Bytes(), nil
}

// onlyFor refuses requests that are addressed to somebody else.
func onlyFor(allowed func(host string) bool, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !allowed(r.Host) {
			(&problem.Problem{Status: http.StatusForbidden, Code: "host", Detail: "the Host header names no host of this gateway"}).Write(w)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// serve answers with content that browsers keep and ask about: after a deploy they must not run an old script against a
// new document.
func serve(contentType string, content []byte) http.Handler {
	sum := sha256.Sum256(content)
	etag := `"` + hex.EncodeToString(sum[:8]) + `"`
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Type", contentType)
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-cache")
		h.Set("ETag", etag)
		if r.Header.Get("If-None-Match") == etag {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		_, _ = w.Write(content) // an error is a browser that went away
	})
}
