package apikey

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// A signature as the contract has it, computed without this package.
func TestSignIsTheContract(t *testing.T) {
	t.Parallel()
	s, err := ParseSecret("lps_ABCDEFGHIJKLMNOPQRSTUVWXYZ234567")
	if err != nil {
		t.Fatal(err)
	}
	at, body := time.Unix(1769860804, 5e8), []byte(`{"link":"x7Kp2"}`)
	mac := hmac.New(sha256.New, []byte("lps_ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"))
	fmt.Fprintf(mac, "1769860804.%s", body)
	want := "t=1769860804,k=acme-1,v1=" + hex.EncodeToString(mac.Sum(nil))
	if got := s.Sign("acme-1", body, at); got != want {
		t.Fatalf("signed %s\nwant   %s", got, want)
	}
	// As `printf '%s.%s' 1769860804 '{"link":"x7Kp2"}' | openssl dgst -sha256 -hmac … -r` says.
	if !strings.HasSuffix(want, openssl) {
		t.Fatalf("%s is not what openssl says, %s", want, openssl)
	}
}

const openssl = "4b695c5bbc9bb7d357b4896f6764ab2aa193f2a393b97afcfe43eadfe48b30d7"

func sign(tb testing.TB, s *Secret, id string, body []byte, at time.Time) Presented {
	tb.Helper()
	p, err := Read(http.Header{SignatureHeader: {s.Sign(id, body, at)}})
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

func TestVerify(t *testing.T) {
	t.Parallel()
	now, body := time.Now(), []byte(`{"link":"x7Kp2"}`)
	s, other := NewSecret(), NewSecret()
	p := sign(t, s, "acme-1", body, now)
	if !s.Verify(&p, body) || !p.Timely(now) || p.ID() != "acme-1" {
		t.Fatal("a signature is not verified")
	}
	if again, err := ParseSecret(s.Reveal()); err != nil || !again.Verify(&p, body) {
		t.Fatalf("nor by the same secret: %v", err)
	}
	if other.Verify(&p, body) {
		t.Error("another secret takes it for its own")
	}
	for _, b := range []string{"", `{"link":"x7Kp3"}`, `{"link":"x7Kp2"} `, `.{"link":"x7Kp2"}`} {
		if s.Verify(&p, []byte(b)) {
			t.Errorf("it is good for %q too", b)
		}
	}
	later := p
	later.at++
	if s.Verify(&later, body) {
		t.Error("it is good for another second too")
	}
	// The full stop keeps a digit of the time from being moved into the body.
	shifted := sign(t, s, "acme-1", []byte("4.x"), time.Unix(176986080, 0))
	shifted.at = 1769860804
	if s.Verify(&shifted, []byte("x")) {
		t.Error("a digit was moved")
	}
	for bit := range 8 * len(p.mac) {
		flipped := p
		flipped.mac[bit/8] ^= 1 << (bit % 8)
		if s.Verify(&flipped, body) {
			t.Fatalf("with bit %d flipped it is good too", bit)
		}
	}
	if k := newKey(t, "acme-1"); s.Verify(&Presented{key: k}, nil) {
		t.Error("a key is taken for a signature")
	}
}

// One secret verifies for many requests at once.
func TestVerifyConcurrently(t *testing.T) {
	t.Parallel()
	s := NewSecret()
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			body := []byte(strings.Repeat(strconv.Itoa(i), 1+1000*i))
			for range 200 {
				if p := sign(t, s, "a", body, time.Now()); !s.Verify(&p, body) || s.Verify(&p, body[1:]) {
					t.Error("mixed up")
					return
				}
			}
		})
	}
	all.Wait()
}

func TestParseSecret(t *testing.T) {
	t.Parallel()
	for _, text := range []string{strings.Repeat("x", 32), strings.Repeat("~", 256), NewSecret().Reveal()} {
		if s, err := ParseSecret(text); err != nil || s.Reveal() != text {
			t.Errorf("%q: %v", text, err)
		}
	}
	for _, text := range []string{
		"", strings.Repeat("s", 31), strings.Repeat("s", 257), strings.Repeat("s", 40) + "\n", strings.Repeat("s", 40) + " ",
		strings.Repeat("s", 40) + "é", "\x00" + strings.Repeat("s", 40),
	} {
		if _, err := ParseSecret(text); err == nil || strings.Contains(err.Error(), "sss") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestVerifyDoesNotAllocate(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector makes sync.Pool forget")
	}
	s, body := NewSecret(), []byte(strings.Repeat("x", 1000))
	p := sign(t, s, "acme-1", body, time.Now())
	if n := testing.AllocsPerRun(100, func() { _ = s.Verify(&p, body) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkHash(b *testing.B) {
	h := header("Authorization", "Bearer "+keyA)
	b.ReportAllocs()
	for b.Loop() {
		p, err := Read(h)
		if err != nil || p.Hash() == ([32]byte{}) {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerify(b *testing.B) {
	for _, size := range []int{100, 10_000} {
		b.Run(strconv.Itoa(size), func(b *testing.B) {
			s, body := NewSecret(), make([]byte, size)
			p := sign(b, s, "acme-1", body, time.Now())
			b.ReportAllocs()
			for b.Loop() {
				if !s.Verify(&p, body) {
					b.Fatal("not verified")
				}
			}
		})
	}
}
