package auth_test

import (
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/linkpulse/linkpulse/pkg/auth"
)

// Over real connections: whose certificate is not trusted says nothing of keys.
func TestJWKSOverTLS(t *testing.T) {
	t.Parallel()
	serve := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet || !strings.Contains(r.Header.Get("Accept"), "jwk-set+json") {
			t.Errorf("%s, %v", r.Method, r.Header)
		}
		_, _ = w.Write([]byte(jwks(jwkOf("k1", keys().ed)))) // whoever does not read it has no keys
	})
	secure := httptest.NewTLSServer(serve)
	defer secure.Close()
	plain := httptest.NewServer(serve)
	defer plain.Close()
	dir := t.TempDir()
	ca := writeFile(t, filepath.Join(dir, "ca"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw}))
	for name, tc := range map[string]struct {
		url, ca string
		want    string // of the error; empty: it works
	}{
		"with its certificate":    {secure.URL, ca, ""},
		"without its certificate": {secure.URL, "", "certificate"},
		"plain, on this machine":  {plain.URL, "", ""},
	} {
		cfg := ofExample()
		cfg.JWKSURL, cfg.JWKSCA = tc.url, tc.ca
		v := newVerifier(t, cfg)
		switch err := v.Load(t.Context()); {
		case tc.want == "" && err != nil, tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)):
			t.Errorf("%s: %v", name, err)
		case tc.want == "":
			wantAccepted(t, v, first())
		}
	}
	for ca, want := range map[string]string{
		filepath.Join(dir, "none"):                      "no such file",
		writeFile(t, filepath.Join(dir, "x"), []byte{}): "holds no certificate",
	} {
		cfg := ofExample()
		cfg.JWKSURL, cfg.JWKSCA = secure.URL, ca
		if _, err := auth.New(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
