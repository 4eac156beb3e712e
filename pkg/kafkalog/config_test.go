package kafkalog

import (
	"crypto/tls"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/linkpulse/linkpulse/pkg/tlsclient/tlstest"
)

func TestConfigCheck(t *testing.T) {
	t.Parallel()
	good := Config{Brokers: []string{"kafka-1:9092", "[::1]:9092"}}
	with := func(change func(*Config)) Config {
		c := good
		change(&c)
		return c
	}
	for name, tc := range map[string]struct {
		cfg  Config
		want []string // parts of the error, none: it is right
	}{
		"plaintext": {good, nil},
		"TLS":       {with(func(c *Config) { c.TLS.Enable = true }), nil},
		"TLS with everything": {with(func(c *Config) {
			c.TLS = TLSConfig{Enable: true, CA: "ca", Cert: "cert", Key: "key", ServerName: "name"}
		}), nil},
		"SCRAM without TLS":    {with(func(c *Config) { c.SASL = SASLConfig{"scram-sha-512", "u", "p"} }), nil},
		"PLAIN with TLS":       {with(func(c *Config) { c.TLS.Enable = true; c.SASL = SASLConfig{"plain", "u", "p"} }), nil},
		"mechanism none":       {with(func(c *Config) { c.SASL.Mechanism = "none" }), nil},
		"no brokers":           {Config{}, []string{"no Kafka brokers"}},
		"no port":              {Config{Brokers: []string{"kafka"}}, []string{`"kafka" is not host:port`}},
		"certificate, no key":  {with(func(c *Config) { c.TLS = TLSConfig{Enable: true, Cert: "cert"} }), []string{"come together"}},
		"TLS not enabled":      {with(func(c *Config) { c.TLS.CA = "ca" }), []string{"not enabled"}},
		"no password":          {with(func(c *Config) { c.SASL = SASLConfig{"scram-sha-256", "u", ""} }), []string{"scram-sha-256 needs"}},
		"user, no mechanism":   {with(func(c *Config) { c.SASL.Username = "u" }), []string{"no mechanism"}},
		"PLAIN without TLS":    {with(func(c *Config) { c.SASL = SASLConfig{"plain", "u", "p"} }), []string{"plain sends the password"}},
		"everything at once":   {Config{TLS: TLSConfig{Key: "key", ServerName: "x"}, SASL: SASLConfig{"plain", "", ""}}, []string{"no Kafka brokers", "come together", "not enabled", "needs a user name"}},
		"an unknown mechanism": {with(func(c *Config) { c.SASL = SASLConfig{"gssapi", "u", "p"} }), []string{`"gssapi"`}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := tc.cfg.Check()
			if (err == nil) != (tc.want == nil) {
				t.Fatalf("Check = %v", err)
			}
			for _, part := range tc.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("Check = %v, want %q in it", err, part)
				}
			}
			if _, openErr := Open(tc.cfg); err != nil && openErr == nil {
				t.Error("Open took it")
			}
		})
	}
}

func TestOpenReadsFiles(t *testing.T) {
	t.Parallel()
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tls := range map[string]TLSConfig{
		"no CA file":        {Enable: true, CA: empty + "x"},
		"an empty CA file":  {Enable: true, CA: empty},
		"no key file":       {Enable: true, Cert: empty, Key: empty + "x"},
		"an empty key file": {Enable: true, Cert: empty, Key: empty},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := Open(Config{Brokers: []string{"kafka:9092"}, TLS: tls}); err == nil || !strings.Contains(err.Error(), empty) && !strings.Contains(err.Error(), "PEM") {
				t.Fatalf("Open = %v, want the file in it", err)
			}
		})
	}
}

// Every way to prove who one is, over TLS, and that there is no way round it.
func TestSecureConnections(t *testing.T) {
	t.Parallel()
	const user, password = "linkpulse", "correct horse"
	for name, tc := range map[string]struct {
		change func(*Config)
		want   string // part of the error
	}{
		"plain":            {func(c *Config) { c.SASL.Mechanism = "plain" }, ""},
		"scram-sha-256":    {func(c *Config) { c.SASL.Mechanism = "scram-sha-256" }, ""},
		"scram-sha-512":    {func(*Config) {}, ""},
		"another name":     {func(c *Config) { c.TLS.ServerName = "kafka.example" }, "kafka.example"},
		"an unknown CA":    {func(c *Config) { c.TLS.CA = tlstest.New(t).Cert }, "certificate"},
		"a wrong password": {func(c *Config) { c.SASL.Mechanism, c.SASL.Password = "plain", "wrong" }, "asking for the bounds"},
		"no password":      {func(c *Config) { c.SASL = SASLConfig{} }, "asking for the bounds"},
		"no TLS":           {func(c *Config) { c.TLS = TLSConfig{} }, "asking for the bounds"},
		"nobody":           {func(c *Config) { c.SASL = SASLConfig{"plain", "nobody", "x"} }, "asking for the bounds"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server := tlstest.New(t)
				w := newWorld(t, 1, 1, kfake.TLS(&tls.Config{Certificates: []tls.Certificate{server.Pair}, MinVersion: tls.VersionTLS12}), kfake.EnableSASL(),
					kfake.Superuser("PLAIN", user, password), kfake.Superuser("SCRAM-SHA-256", user, password), kfake.Superuser("SCRAM-SHA-512", user, password))
				cfg := Config{
					Brokers: w.fake.ListenAddrs(), TLS: TLSConfig{Enable: true, CA: server.Cert, ServerName: "localhost"},
					SASL: SASLConfig{Mechanism: "scram-sha-512", Username: user, Password: password},
				}
				tc.change(&cfg)
				c, err := Open(cfg, WithDialer(w.dial))
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				_, err = c.Bounds(t.Context(), topic, 0)
				if (err == nil) != (tc.want == "") || (err != nil && !strings.Contains(err.Error(), tc.want)) {
					t.Fatalf("Bounds = %v, want %q in it", err, tc.want)
				}
			})
		})
	}
}
