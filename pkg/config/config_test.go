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

func TestEveryProblemIsToldAtOnce(t *testing.T) {
	t.Parallel()
	file := write(t, `{"adr": "x", "max": "many", "drain": {"s": 5}}`)
	var got settings
	err := Load(&got, Source{
		Name: "ingest", Prefix: "INGEST", Args: []string{"--level", "loud"},
		Environ: []string{"INGEST_CONFIG=" + file, "INGEST_DRAINS=8s", "INGEST_MAX=x", "INGEST_KAFKA_PASSWORD_FILE=/does/not/exist"},
	})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		`"adr": no such setting; did you mean addr?`, `"max"`, `"drain": must be a string`,
		"INGEST_DRAINS: no such setting; did you mean INGEST_DRAIN?", "INGEST_MAX", "INGEST_KAFKA_PASSWORD_FILE", "--level",
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
