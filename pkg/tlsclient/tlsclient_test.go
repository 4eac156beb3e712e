package tlsclient_test

import (
	"crypto/tls"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/linkpulse/linkpulse/pkg/tlsclient"
)

func TestCheck(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		cfg  tlsclient.Config
		want []string
	}{
		"off":                 {tlsclient.Config{}, nil},
		"on":                  {tlsclient.Config{Enable: true}, nil},
		"everything":          {tlsclient.Config{Enable: true, CA: "ca", Cert: "cert", Key: "key", ServerName: "name"}, nil},
		"certificate, no key": {tlsclient.Config{Enable: true, Cert: "cert"}, []string{"come together"}},
		"key, no certificate": {tlsclient.Config{Enable: true, Key: "key"}, []string{"come together"}},
		"not enabled":         {tlsclient.Config{ServerName: "x"}, []string{"not enabled"}},
		"both":                {tlsclient.Config{Cert: "cert"}, []string{"come together", "not enabled"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := tc.cfg.Check()
			if (err == nil) != (tc.want == nil) {
				t.Fatalf("Check = %v", err)
			}
			for _, want := range tc.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("Check = %v, want %q in it", err, want)
				}
			}
		})
	}
}

func TestLoad(t *testing.T) {
	t.Parallel()
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if cfg, err := (tlsclient.Config{CA: empty}).Load(); cfg != nil || err != nil {
		t.Errorf("what is not enabled: %v, %v", cfg, err)
	}
	cfg, err := tlsclient.Config{Enable: true, ServerName: "kafka.example"}.Load()
	if err != nil || cfg.MinVersion < tls.VersionTLS12 || cfg.ServerName != "kafka.example" || cfg.RootCAs != nil {
		t.Errorf("the system's certificates: %+v, %v", cfg, err)
	}
	for name, c := range map[string]tlsclient.Config{
		"no CA file":        {Enable: true, CA: empty + "x"},
		"an empty CA file":  {Enable: true, CA: empty},
		"no key file":       {Enable: true, Cert: empty, Key: empty + "x"},
		"an empty key file": {Enable: true, Cert: empty, Key: empty},
	} {
		if cfg, err := c.Load(); err == nil {
			t.Errorf("%s: %+v", name, cfg)
		}
	}
}
