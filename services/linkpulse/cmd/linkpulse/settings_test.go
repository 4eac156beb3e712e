package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
)

// parse is what run does before it runs a command.
func parse(t *testing.T, args []string, environ ...string) (*commands, error) {
	t.Helper()
	var cmds commands
	parser, err := kong.New(&cmds, kong.Name("linkpulse"))
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := parser.Parse(args)
	if err != nil {
		t.Fatal(err)
	}
	return &cmds, cmds.settle(parsed.Command(), args, environ)
}

func file(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestInitFromTheEnvironment(t *testing.T) {
	t.Parallel()
	c, err := parse(t, []string{"--log-level", "info", "init", "--partitions=24", "--config", file(t, `{"retention": "200h", "partitions": 6}`)},
		"LINKPULSE_KAFKA_BROKERS=a:9092,b:9092", "LINKPULSE_KAFKA_SASL_MECHANISM=scram-sha-512", "LINKPULSE_KAFKA_SASL_USERNAME=ops",
		"LINKPULSE_KAFKA_SASL_PASSWORD_FILE="+file(t, "s3cret\n"), "LINKPULSE_PARTITIONS=3", "LINKPULSE_WITHIN=2h",
		"LINKPULSE_REDIS_PASSWORD=of the other commands", "LINKPULSE_KEY_FILE=of others", "LINKPULSE_LOG_LEVEL=debug", "HOME=/root")
	if err != nil {
		t.Fatal(err)
	}
	i := &c.Init
	if !slices.Equal(i.Kafka.Brokers, []string{"a:9092", "b:9092"}) || i.Kafka.SASL.Password != "s3cret" || i.Partitions != 24 ||
		i.Retention != 200*time.Hour || i.Within != 2*time.Hour || i.Topic != "clicks" || c.LogLevel != "info" {
		t.Fatalf("%+v, log level %s", i, c.LogLevel)
	}
}

func TestTotalsFromTheEnvironment(t *testing.T) {
	t.Parallel()
	environ := []string{"LINKPULSE_KAFKA_BROKERS=a:9092", "LINKPULSE_REDIS_ADDRS=r:6379", "LINKPULSE_REDIS_PASSWORD_FILE=" + file(t, "s3cret\n")}
	c, err := parse(t, []string{"totals", "--log-level=debug", "export", "totals"}, environ...)
	if err != nil || c.Totals.Export.File != "totals" || c.Totals.Export.Redis.Password != "s3cret" || c.Totals.Export.Redis.Addrs[0] != "r:6379" {
		t.Fatalf("%+v, %v", c.Totals.Export, err)
	}
	c, err = parse(t, []string{"totals", "verify", "--links=a,b", "--base", "x"}, append(environ, "LINKPULSE_PARTITIONS=3")...)
	if v := &c.Totals.Verify; err != nil || !slices.Equal(v.Links, []string{"a", "b"}) || v.Partition != nil || v.Base != "x" {
		t.Fatalf("%+v, %v", v, err)
	}
}

// Everything that is wrong is told at once, and what nobody knows is refused.
func TestProblemsOfSettings(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		args    []string
		environ []string
		want    []string
	}{
		{[]string{"init", "--replicas=1"}, []string{"LINKPULSE_WINDOW=0"}, []string{"no Kafka brokers", "window is 0", "min insync replicas is 2"}},
		{[]string{"init"}, []string{"LINKPULSE_PARTITONS=3"}, []string{"LINKPULSE_PARTITONS: no such setting", "LINKPULSE_PARTITIONS"}},
		{[]string{"totals", "export"}, nil, []string{"no Kafka brokers", "FILE"}},
		{[]string{"totals", "import", "x", "--counts=y"}, nil, []string{"either the FILE of a backup or --counts"}},
		{[]string{"totals", "rebuild", "--from=totals", "--window=5"}, nil, []string{"--window and --within"}},
		{[]string{"totals", "verify", "--links=a b", "--partition=1"}, nil, []string{`"a b"`, "--links and --partition"}},
	} {
		_, err := parse(t, tc.args, tc.environ...)
		for _, want := range tc.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v: %v, want %q", tc.args, err, want)
			}
		}
	}
	if _, err := parse(t, []string{"version"}, "LINKPULSE_NONSENSE=1"); err != nil {
		t.Errorf("commands for people read no environment: %v", err)
	}
}

// Whoever reads --help learns where things listen when nobody says so, though the flag names the form of an address.
func TestHelpTellsDefaults(t *testing.T) {
	t.Parallel()
	for command, want := range map[string][]string{
		"dev":   {"Default: 127.0.0.1:8080.", "Default: 127.0.0.1:8081,127.0.0.1:8082.", "--traffic=0"},
		"send":  {"Default: http://127.0.0.1:8080."},
		"watch": {"Default: http://127.0.0.1:8081,http://127.0.0.1:8082."},
	} {
		var cmds commands
		var out strings.Builder
		parser, err := kong.New(&cmds, kong.Writers(&out, &out), kong.Exit(func(int) {}), kong.ValueFormatter(helpOf))
		if err != nil {
			t.Fatal(err)
		}
		_, _ = parser.Parse([]string{command, "--help"}) // Exit, which does nothing here, would have ended it
		said := strings.Join(strings.Fields(out.String()), " ")
		for _, w := range want {
			if !strings.Contains(said, w) {
				t.Errorf("linkpulse %s --help does not say %q:\n%s", command, w, said)
			}
		}
	}
}

func TestTokenAndRevokeFromTheEnvironment(t *testing.T) {
	t.Parallel()
	environ := []string{"LINKPULSE_AUTH_KEY_FILES=a.pem,b", "LINKPULSE_KAFKA_BROKERS=a:9092", "LINKPULSE_PARTITIONS=3", "LINKPULSE_AUTH_SECRET_FILE=s"}
	c, err := parse(t, []string{"token", "--log-level=debug", "check", "--auth-issuer=x", "check"}, environ...)
	if k := &c.Token.Check; err != nil || !slices.Equal(k.Auth.KeyFiles, []string{"a.pem", "b"}) || k.Auth.Issuer != "x" || k.Auth.SecretFile != "s" || k.Token != "check" {
		t.Fatalf("%+v, %v", k, err)
	}
	for _, args := range [][]string{
		{"revoke", "--subject", "add"},
		{"revoke", "add", "--subject", "add"},
		{"--log-level", "info", "revoke", "--subject=add"},
	} {
		c, err = parse(t, args, environ...)
		if a := &c.Revoke.Add; err != nil || a.Subject == nil || *a.Subject != "add" || a.Kafka.Brokers[0] != "a:9092" {
			t.Errorf("%v: %+v, %v", args, a, err)
		}
	}
	c, err = parse(t, []string{"revoke", "lift", "--token=list"}, environ...)
	if l := &c.Revoke.Lift; err != nil || *l.Token != "list" || l.Timeout != 30*time.Second {
		t.Errorf("%+v, %v", l, err)
	}
	if _, err = parse(t, []string{"revoke", "list"}); err == nil || !strings.Contains(err.Error(), "no Kafka brokers") {
		t.Errorf("%v", err)
	}
	if _, err = parse(t, []string{"token", "keygen"}, "LINKPULSE_NONSENSE=1"); err != nil {
		t.Errorf("commands for people read no environment: %v", err)
	}
}
