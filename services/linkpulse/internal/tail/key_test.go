package tail

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/linkpulse/linkpulse/pkg/apikey"
	"github.com/linkpulse/linkpulse/pkg/client"
	"github.com/linkpulse/linkpulse/services/linkpulse/internal/keyflag"
)

// guard lets nobody through but the holder of a key.
type guard struct {
	*ingest

	key apikey.Key
}

func (g guard) RoundTrip(req *http.Request) (*http.Response, error) {
	if p, err := apikey.Read(req.Header); err == nil && p.Hash() == g.key.Hash() {
		return g.ingest.RoundTrip(req)
	}
	return status(http.StatusUnauthorized), nil
}

// A key that is refused ends it, and loses nothing: with another one it goes on where it was.
func TestTailWithAKey(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.append("", "a", "b", "c")
		good, err := apikey.New("acme-1")
		if err != nil {
			t.Fatal(err)
		}
		bad, err := apikey.New("acme-1")
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), "key")
		var said strings.Builder
		run := func(follow bool, key apikey.Key) error {
			if err := os.WriteFile(file, []byte(key.Reveal()+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			c := Cmd{
				File: w.log, Ingest: "http://ingest", StripPrefix: "/", Status: []int{302}, Follow: follow,
				Credentials: keyflag.Flags{KeyFile: file},
			}
			return c.Run(t.Context(), Env{Stdout: &said, Stderr: &said, Transport: guard{w.ingest, good}})
		}
		for _, follow := range []bool{false, true} {
			if err := run(follow, bad); !errors.Is(err, client.ErrUnauthorized) || len(w.ingest.links()) != 0 {
				t.Fatalf("%v, and ingest has %v", err, w.ingest.links())
			}
		}
		w.append("", "d")
		if err := run(false, good); err != nil || !slices.Equal(w.ingest.links(), []string{"a", "b", "c", "d"}) {
			t.Fatalf("%v, and ingest has %v", err, w.ingest.links())
		}
		for _, k := range []apikey.Key{good, bad} {
			if strings.Contains(said.String(), k.Reveal()[12:30]) {
				t.Error("the secret is told")
			}
		}
	})
}
