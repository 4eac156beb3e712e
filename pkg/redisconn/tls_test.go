package redisconn_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/rueidis"
	"go.uber.org/goleak"

	"github.com/linkpulse/linkpulse/pkg/redisconn"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// identity is a certificate that vouches for itself, and its files.
type identity struct {
	pair      tls.Certificate
	cert, key string
}

func newIdentity(t *testing.T) identity {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	id := identity{
		pair: tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key},
		cert: filepath.Join(dir, "cert.pem"), key: filepath.Join(dir, "key.pem"),
	}
	for file, block := range map[string]*pem.Block{id.cert: {Type: "CERTIFICATE", Bytes: der}, id.key: {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return id
}

// Redis over TLS, with a certificate of the client's where the server asks for one, and that there is no way round it.
func TestTLS(t *testing.T) {
	t.Parallel()
	server, client := newIdentity(t), newIdentity(t)
	for _, tc := range []struct {
		name   string
		mutual bool
		change func(*redisconn.Config)
		want   string // part of the error
	}{
		{"by its address", false, func(*redisconn.Config) {}, ""},
		{"by a name", false, func(c *redisconn.Config) { c.TLS.ServerName = "localhost" }, ""},
		{"another name", false, func(c *redisconn.Config) { c.TLS.ServerName = "redis.example" }, "redis.example"},
		{"an unknown CA", false, func(c *redisconn.Config) { c.TLS.CA = client.cert }, "certificate"},
		{"no TLS", false, func(c *redisconn.Config) { c.TLS = redisconn.TLSConfig{} }, "redis"},
		{"with a certificate", true, func(c *redisconn.Config) { c.TLS.Cert, c.TLS.Key = client.cert, client.key }, ""},
		{"without one", true, func(*redisconn.Config) {}, "certificate"},
		{"with another one", true, func(c *redisconn.Config) { c.TLS.Cert, c.TLS.Key = server.cert, server.key }, "certificate"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			of := &tls.Config{Certificates: []tls.Certificate{server.pair}, MinVersion: tls.VersionTLS12}
			if tc.mutual {
				of.ClientAuth, of.ClientCAs = tls.RequireAndVerifyClientCert, x509.NewCertPool()
				pem, err := os.ReadFile(client.cert)
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
			cfg.TLS.Enable, cfg.TLS.CA = true, server.cert
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
