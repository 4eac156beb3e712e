package tokenflag

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/alecthomas/kong"

	"github.com/linkpulse/linkpulse/pkg/client"
)

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestSource(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "token")
	write(t, path, "from.the.file\n")
	for _, tt := range []struct {
		flags Flags
		want  string
	}{
		{Flags{}, ""}, {Flags{Token: "a.b.c"}, "a.b.c"}, {Flags{TokenFile: path}, "from.the.file"}, {Flags{TokenFile: "-"}, "from.the.pipe"},
	} {
		s, err := tt.flags.Source(t.Context(), strings.NewReader(" from.the.pipe\n"))
		if err != nil || (s == nil) != (tt.want == "") {
			t.Fatalf("%+v: %v, %v", tt.flags, s, err)
		}
		if s == nil {
			continue
		}
		if got, err := s.Token(t.Context(), ""); got != tt.want || err != nil {
			t.Errorf("%+v: %q, %v", tt.flags, got, err)
		}
	}
	for _, flags := range []Flags{{Token: "no t0ken"}, {TokenFile: path + "x"}, {TokenFile: "-"}, {TokenFile: filepath.Dir(path)}} {
		if _, err := flags.Source(t.Context(), strings.NewReader("no t0ken")); err == nil || strings.Contains(err.Error(), "t0ken") {
			t.Errorf("%+v: %v", flags, err)
		}
	}
}

// A file is read again, a pipe cannot be.
func TestWhatCanBeReadAgain(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "token")
	write(t, path, "t1")
	s, err := (&Flags{TokenFile: path}).Source(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	write(t, path, "t2")
	if got, err := s.Token(t.Context(), "t1"); got != "t2" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Skipf("no pipes here: %v", err)
	}
	written := make(chan error, 1)
	go func() { written <- os.WriteFile(pipe, []byte("t3"), 0o600) }()
	s, err = (&Flags{TokenFile: pipe}).Source(t.Context(), nil)
	if err := errors.Join(err, <-written); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Token(t.Context(), ""); got != "t3" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := s.Token(t.Context(), "t3"); !errors.Is(err, client.ErrNoToken) {
		t.Errorf("another one of a pipe: %v", err)
	}
}

func TestPlain(t *testing.T) {
	t.Parallel()
	for gateway, plain := range map[string]bool{
		"http://127.0.0.1:8081": false, "http://localhost": false, "http://[::1]:8081": false, "https://gw.example": false,
		"wss://gw.example": false, "http://gw.example": true, "ws://10.0.0.1:8081": true,
	} {
		err := CheckPlain([]string{"http://127.0.0.1", gateway})
		if errors.Is(err, ErrPlain) != plain {
			t.Errorf("%s: %v", gateway, err)
		}
	}
}

// Neither can stand in the environment, nor both be given.
func TestFlags(t *testing.T) {
	t.Setenv("TOKEN", "a.b.c")
	t.Setenv("TOKEN_FILE", "x")
	parse := func(args ...string) (Flags, error) {
		var f Flags
		p, err := kong.New(&f, kong.Name("x"))
		if err != nil {
			t.Fatal(err)
		}
		_, err = p.Parse(args)
		return f, err
	}
	if f, err := parse(); err != nil || f != (Flags{}) {
		t.Errorf("%+v, %v", f, err)
	}
	if f, err := parse("--token-file=-"); err != nil || f.TokenFile != "-" {
		t.Errorf("%+v, %v", f, err)
	}
	if _, err := parse("--token=a.b.c", "--token-file=x"); err == nil {
		t.Error("both were taken")
	}
}
