package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

type kafka struct {
	Brokers  []string `help:"Where to begin."`
	Password string   `help:"Secret."`
}

type settings struct {
	Addr  string        `help:"Where to listen." default:"127.0.0.1:80"`
	Drain time.Duration `help:"How long to drain." default:"5s"`
	Max   int           `help:"Most of it." default:"10"`
	Level string        `default:"info" enum:"debug,info"`
	Kafka kafka         `embed:"" prefix:"kafka-"`
}

func (s *settings) Check() error {
	if s.Max < 1 {
		return errors.New("--max must be above 0")
	}
	return nil
}

func write(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestPrecedence(t *testing.T) {
	t.Parallel()
	file := write(t, `{"addr": "file:1", "drain": "7s", "max": 70, "kafka-brokers": ["f1:1", "f2:2"]}`)
	var got settings
	err := Load(&got, Source{
		Name: "ingest", Prefix: "INGEST",
		Args:    []string{"--config", file, "--addr", "flag:1"},
		Environ: []string{"INGEST_ADDR=env:1", "INGEST_DRAIN=8s", "INGEST_KAFKA_PASSWORD_FILE=" + write(t, "secret\n"), "OTHER_X=1"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if got.Addr != "flag:1" || got.Drain != 8*time.Second || got.Max != 70 || got.Level != "info" ||
		strings.Join(got.Kafka.Brokers, " ") != "f1:1 f2:2" || got.Kafka.Password != "secret" {
		t.Fatalf("got %+v", got)
	}
}

// A list comes from one source: kong by itself adds those of all of them together.
func TestListsAreReplaced(t *testing.T) {
	t.Parallel()
	file := write(t, `{"kafka-brokers": ["file:1", "file:2"], "max": 9007199254740993}`)
	for _, tt := range []struct {
		args, environ []string
		want          string
	}{
		{[]string{"--config", file}, nil, "file:1 file:2"},
		{[]string{"--config", file}, []string{"INGEST_KAFKA_BROKERS=env:1,env:2"}, "env:1 env:2"},
		{[]string{"--config", file, "--kafka-brokers=flag:1", "--kafka-brokers=flag:2"}, []string{"INGEST_KAFKA_BROKERS=env:1"}, "flag:1 flag:2"},
	} {
		var got settings
		if err := Load(&got, Source{Name: "ingest", Prefix: "INGEST", Args: tt.args, Environ: tt.environ}); err != nil {
			t.Fatal(err)
		}
		if s := strings.Join(got.Kafka.Brokers, " "); s != tt.want || got.Max != 9007199254740993 {
			t.Errorf("brokers %q, max %d, want %q", s, got.Max, tt.want)
		}
	}
}

func TestKubernetesServiceLinksAreNoSettings(t *testing.T) {
	t.Parallel()
	var got settings
	err := Load(&got, Source{Name: "ingest", Prefix: "INGEST", Environ: []string{
		"INGEST_SERVICE_HOST=10.0.0.1", "INGEST_SERVICE_PORT=80", "INGEST_SERVICE_PORT_HTTP=80", "INGEST_PORT=tcp://10.0.0.1:80",
		"INGEST_PORT_80_TCP=tcp://10.0.0.1:80", "INGEST_PORT_80_TCP_PROTO=tcp", "INGEST_PORT_80_TCP_ADDR=10.0.0.1",
	}})
	if err != nil {
		t.Fatal(err)
	}
	for _, wrong := range []string{"INGEST_PORT=80", "INGEST_SERVICE=x", "INGEST_PORT_X=1"} {
		if err := Load(&got, Source{Name: "ingest", Prefix: "INGEST", Environ: []string{wrong}}); err == nil {
			t.Errorf("%s was ignored", wrong)
		}
	}
}

func TestEveryProblemIsToldAtOnce(t *testing.T) {
	t.Parallel()
	file := write(t, `{"adr": "x", "max": "many", "drain": {"s": 5}}`)
	var got settings
	err := Load(&got, Source{
		Name: "ingest", Prefix: "INGEST", Args: []string{"--level", "loud"},
		Environ: []string{"INGEST_CONFIG=" + file, "INGEST_DRAINS=8s", "INGEST_MAX=x", "INGEST_KAFKA_PASSWORD_FILE=/does/not/exist", "INGEST_ADDR=a:1", "INGEST_ADDR_FILE=/dev/null", "INGEST_HELP=true"},
	})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		`"adr": no such setting; did you mean addr?`, `"max"`, `"drain": must be a string`,
		"INGEST_DRAINS: no such setting; did you mean INGEST_DRAIN?", "INGEST_MAX", "INGEST_KAFKA_PASSWORD_FILE", "--level",
		"INGEST_ADDR_FILE: INGEST_ADDR is set too", "INGEST_HELP: no such setting",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not told in:\n%v", want, err)
		}
	}
}

func TestCheckSeesTheWhole(t *testing.T) {
	t.Parallel()
	var got settings
	if err := Load(&got, Source{Name: "x", Prefix: "X", Args: []string{"--max=0"}}); err == nil || !strings.Contains(err.Error(), "above 0") {
		t.Fatalf("Load = %v", err)
	}
}

func TestHelp(t *testing.T) {
	t.Parallel()
	var got settings
	var out strings.Builder
	err := Load(&got, Source{Name: "ingest", Prefix: "INGEST", Args: []string{"--help"}, Stdout: &out})
	if !errors.Is(err, ErrHelp) || !strings.Contains(out.String(), "($INGEST_KAFKA_BROKERS)") {
		t.Fatalf("Load = %v, help:\n%s", err, out.String())
	}
}
