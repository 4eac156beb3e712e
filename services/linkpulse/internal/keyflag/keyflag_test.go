package keyflag

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/linkpulse/linkpulse/pkg/apikey"
)

func key(t *testing.T, id string) string {
	t.Helper()
	k, err := apikey.New(id)
	if err != nil {
		t.Fatal(err)
	}
	return k.Reveal()
}

func file(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Flags win over the environment, and nothing is a way to say nothing.
func TestCredentials(t *testing.T) {
	t.Parallel()
	a, b, secret := key(t, "a"), key(t, "b"), apikey.NewSecret()
	for name, tc := range map[string]struct {
		flags   Flags
		environ []string
		id      string // empty: there are none
		signed  bool
	}{
		"nothing":               {},
		"others' variables":     {environ: []string{"LINKPULSE_KEYS=x", "KEY=" + a, "LINKPULSE_KEY_FILES=y"}},
		"empty variables":       {environ: []string{"LINKPULSE_KEY=", "LINKPULSE_KEY_FILE="}},
		"flag":                  {flags: Flags{Key: a}, id: "a"},
		"file":                  {flags: Flags{KeyFile: file(t, a+"\r\n")}, id: "a"},
		"environment":           {environ: []string{"LINKPULSE_KEY=" + a}, id: "a"},
		"file of it":            {environ: []string{"LINKPULSE_KEY_FILE=" + file(t, a)}, id: "a"},
		"flag wins":             {flags: Flags{Key: a}, environ: []string{"LINKPULSE_KEY=" + b, "LINKPULSE_KEY_FILE=" + file(t, b)}, id: "a"},
		"file wins":             {flags: Flags{KeyFile: file(t, a)}, environ: []string{"LINKPULSE_KEY=" + b}, id: "a"},
		"signed":                {flags: Flags{SignAs: "c", SigningFile: file(t, secret.Reveal()+"\n")}, id: "c", signed: true},
		"signing wins the same": {flags: Flags{SignAs: "c", SigningFile: file(t, secret.Reveal())}, environ: []string{"LINKPULSE_KEY=" + b}, id: "c", signed: true},
	} {
		c, err := tc.flags.Credentials(tc.environ)
		if err != nil || (c != nil) != (tc.id != "") {
			t.Errorf("%s: %v, %v", name, c, err)
			continue
		}
		if c == nil {
			continue
		}
		h := http.Header{}
		c.Authorize(h, []byte("body"), time.Now())
		p, err := apikey.Read(h)
		if err != nil || p.ID() != tc.id || p.Signed() != tc.signed || p.Signed() && !secret.Verify(&p, []byte("body")) {
			t.Errorf("%s: %v, %v", name, p, err)
		}
	}
}

func TestMistakes(t *testing.T) {
	t.Parallel()
	a, secret := key(t, "a"), apikey.NewSecret().Reveal()
	cut := a[:len(a)-5]
	for name, tc := range map[string]struct {
		flags   Flags
		environ []string
		want    string
	}{
		"both flags":          {Flags{Key: a, KeyFile: "x"}, nil, "--key and --key-file both"},
		"both variables":      {Flags{}, []string{"LINKPULSE_KEY=" + a, "LINKPULSE_KEY_FILE=x"}, "LINKPULSE_KEY and LINKPULSE_KEY_FILE both"},
		"no key":              {Flags{Key: cut}, nil, "--key: a key is lpk_"},
		"no key in a file":    {Flags{KeyFile: file(t, cut)}, nil, "--key-file: a key is lpk_"},
		"two in a file":       {Flags{KeyFile: file(t, a+"\n"+a)}, nil, "--key-file: a key is lpk_"},
		"no file":             {Flags{}, []string{"LINKPULSE_KEY_FILE=/nowhere"}, "LINKPULSE_KEY_FILE: open /nowhere"},
		"no key of it":        {Flags{}, []string{"LINKPULSE_KEY=" + cut}, "LINKPULSE_KEY: a key is lpk_"},
		"another file":        {Flags{KeyFile: file(t, strings.Repeat(a, 100))}, nil, "more than 1024 bytes"},
		"sent and signed":     {Flags{Key: a, SignAs: "a", SigningFile: "x"}, nil, "not both"},
		"signed by nobody":    {Flags{SigningFile: file(t, secret)}, nil, "belong together"},
		"signed with none":    {Flags{SignAs: "a"}, nil, "belong together"},
		"no file to sign":     {Flags{SignAs: "a", SigningFile: "/nowhere"}, nil, "--signing-file: open"},
		"no secret":           {Flags{SignAs: "a", SigningFile: file(t, secret[:20])}, nil, "--signing-file: a signing secret is"},
		"signed by an oddity": {Flags{SignAs: "A", SigningFile: file(t, secret)}, nil, "--sign-as: an id is"},
	} {
		c, err := tc.flags.Credentials(tc.environ)
		if err == nil || c != nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, %v; want %q", name, c, err, tc.want)
		} else if strings.Contains(err.Error(), a[10:30]) || strings.Contains(err.Error(), secret[4:20]) {
			t.Errorf("%s: a secret is in %v", name, err)
		}
	}
}
