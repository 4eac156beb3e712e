package auth

import (
	"bytes"
	"context"
	"os"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// As many as cores are in, some wait, the rest is told at once, and nobody waits for longer than a second.
func TestGate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g, cores := newGate(), runtime.GOMAXPROCS(0)
		began := time.Now()
		for range cores {
			if !g.enter(t.Context()) {
				t.Fatal("an empty gate is closed")
			}
		}
		var (
			mu  sync.Mutex
			in  int
			out = map[time.Duration]int{} // by how long they had waited
			all sync.WaitGroup
		)
		try := func() {
			entered := g.enter(t.Context())
			mu.Lock()
			defer mu.Unlock()
			if entered {
				in++
			} else {
				out[time.Since(began)]++
			}
		}
		for range gateQueue + 100 {
			all.Go(try)
		}
		synctest.Wait()
		if n := g.waiting.Load(); n != gateQueue {
			t.Errorf("%d wait", n)
		}
		time.Sleep(500 * time.Millisecond)
		g.leave() // one of them has its turn, and keeps it
		all.Wait()
		if in != 1 || out[0] != 100 || out[time.Second] != gateQueue-1 {
			t.Errorf("%d came in, out are %v", in, out)
		}
		for range cores {
			g.leave()
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		for range cores {
			if !g.enter(t.Context()) {
				t.Fatal("there is room again")
			}
		}
		if g.enter(ctx) || g.waiting.Load() != 0 {
			t.Error("who has gone waits on")
		}
	})
}

// What a verifier says while its gate is full.
func TestVerifierIsBusy(t *testing.T) {
	t.Parallel()
	path := t.TempDir() + "/s"
	writeSecret(t, path)
	synctest.Test(t, func(t *testing.T) {
		v, err := New(Config{SecretFile: path, Audience: "a", MaxLifetime: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		for range runtime.GOMAXPROCS(0) {
			v.gate.enter(t.Context())
		}
		_, refused := v.verify(t.Context(), "eyJhbGciOiJIUzI1NiJ9.e30.AAAA")
		if refused == nil || refused.Reason != ReasonBusy || !refused.Reason.IsTemporary() {
			t.Errorf("%+v", refused)
		}
		if _, refused := v.verify(t.Context(), "eyJhbGciOiJub25lIn0.e30.AAAA"); refused == nil || refused.Reason != ReasonAlgorithm {
			t.Errorf("what needs no computing waits for it: %+v", refused)
		}
		v.gate.leave()
		if _, refused := v.verify(t.Context(), "eyJhbGciOiJIUzI1NiJ9.e30.AAAA"); refused == nil || refused.Reason != ReasonSignature {
			t.Errorf("%+v", refused)
		}
	})
}

func writeSecret(t *testing.T, path string) {
	t.Helper()
	if err := os.WriteFile(path, bytes.Repeat([]byte{'s'}, LeastSecret), 0o600); err != nil {
		t.Fatal(err)
	}
}
