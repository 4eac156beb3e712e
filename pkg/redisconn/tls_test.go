package redisconn_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/rueidis"
	"go.uber.org/goleak"

	"github.com/linkpulse/linkpulse/pkg/redisconn"
	"github.com/linkpulse/linkpulse/pkg/tlsclient/tlstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Redis over TLS, with a certificate of the client's where the server asks for one, and that there is no way round it.
func TestTLS(t *testing.T) {
	t.Parallel()
	server, client := tlstest.New(t), tlstest.New(t)
	for _, tc := range []struct {
		name   string
		mutual bool
		change func(*redisconn.Config)
		want   string // part of the error
	}{
		{"by its address", false, func(*redisconn.Config) {}, ""},
		{"by a name", false, func(c *redisconn.Config) { c.TLS.ServerName = "localhost" }, ""},
		{"another name", false, func(c *redisconn.Config) { c.TLS.ServerName = "redis.example" }, "redis.example"},
		{"an unknown CA", false, func(c *redisconn.Config) { c.TLS.CA = client.Cert }, "certificate"},
		{"no TLS", false, func(c *redisconn.Config) { c.TLS = redisconn.TLSConfig{} }, "redis"},
		{"with a certificate", true, func(c *redisconn.Config) { c.TLS.Cert, c.TLS.Key = client.Cert, client.Key }, ""},
		{"without one", true, func(*redisconn.Config) {}, "certificate"},
		{"with another one", true, func(c *redisconn.Config) { c.TLS.Cert, c.TLS.Key = server.Cert, server.Key }, "certificate"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			of := &tls.Config{Certificates: []tls.Certificate{server.Pair}, MinVersion: tls.VersionTLS12}
			if tc.mutual {
				of.ClientAuth, of.ClientCAs = tls.RequireAndVerifyClientCert, x509.NewCertPool()
				pem, err := os.ReadFile(client.Cert)
				if err != nil || !of.ClientCAs.AppendCertsFromPEM(pem) {
					t.Fatal(err)
				}
			}
			r, err := miniredis.RunTLS(of)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			cfg := redisconn.Config{Addrs: []string{r.Addr()}, Prefix: "test", Timeout: 5 * time.Second}
			cfg.TLS.Enable, cfg.TLS.CA = true, server.Cert
			tc.change(&cfg)
			c, err := redisconn.Open(cfg)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			err = c.Call(t.Context(), cfg.Timeout, func(ctx context.Context, client rueidis.Client) error {
				return client.Do(ctx, client.B().Ping().Build()).Error()
			})
			if (err == nil) != (tc.want == "") || (err != nil && !strings.Contains(err.Error(), tc.want)) {
				t.Fatalf("a call = %v, want %q in it", err, tc.want)
			}
		})
	}
}
