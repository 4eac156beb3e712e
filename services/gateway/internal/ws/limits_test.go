package ws

import (
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkpulse/linkpulse/pkg/wire"
)

// from is a handshake of a client at an address.
func from(address, token string) http.Header {
	h := http.Header{"Test-Address": {address}}
	if token != "" {
		h.Set("Authorization", "Bearer "+token)
	}
	return h
}

// Every limit of connections: who is refused, with what, and that whoever it does not concern still gets in.
func TestLimitsOfConnections(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		limits Limits
		in     []http.Header // get in
		out    http.Header   // does not
		status int
		as     refusal
		other  http.Header // does; nil: nobody would
	}{
		{
			"of the gateway",
			Limits{Connections: 2},
			[]http.Header{from("", "a"), from("", "b")},
			from("", "c"), 503, refusedFull, nil,
		},
		{
			"of an address",
			Limits{PerAddress: 2},
			[]http.Header{from("192.0.2.1", "a"), from("192.0.2.1", "b")},
			from("192.0.2.1", "c"), 429, refusedAddress, from("192.0.2.2", "c"),
		},
		{
			"of an address that is written as IPv6",
			Limits{PerAddress: 1},
			[]http.Header{from("192.0.2.1", "a")},
			from("::ffff:192.0.2.1", "c"), 429, refusedAddress, from("::ffff:192.0.2.2", "c"),
		},
		{
			"of a /64",
			Limits{PerAddress: 2},
			[]http.Header{from("2001:db8:1:2::1", "a"), from("2001:db8:1:2:ffff::", "b")},
			from("2001:db8:1:2:a:b:c:d", "c"), 429, refusedAddress, from("2001:db8:1:3::1", "c"),
		},
		{
			"of those whose address is not known",
			Limits{PerAddress: 1},
			[]http.Header{from("", "a")},
			from("unknown", "c"), 429, refusedAddress, from("0.0.0.0", "c"),
		},
		{
			"of a subject",
			Limits{PerSubject: 2},
			[]http.Header{from("192.0.2.1", "anna.1"), from("192.0.2.2", "anna.2")},
			from("192.0.2.3", "anna.3"), 429, refusedSubject, from("192.0.2.1", "bert.1"),
		},
		{
			"unauthenticated",
			Limits{Unauthenticated: 2},
			[]http.Header{from("192.0.2.1", ""), from("192.0.2.2", "")},
			from("192.0.2.3", ""), 503, refusedGuests, from("192.0.2.3", "anna.1"),
		},
		{
			"unauthenticated of an address",
			Limits{UnauthenticatedPerAddress: 2},
			[]http.Header{from("192.0.2.1", ""), from("192.0.2.1", "")},
			from("192.0.2.1", ""), 429, refusedAddressGuests, from("192.0.2.2", ""),
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s, _ := guarded(t, overTCP, func(c *Config) {
				c.Limits = tc.limits
				if c.Limits.Connections == 0 {
					c.Limits.Connections = 100
				}
			})
			for range 3 { // what is given back can be had again
				var peers []*peer
				for _, h := range tc.in {
					peers = append(peers, s.open("/ws", h))
				}
				before := s.metric("handshakes_refused_total", tc.as.String())
				for range 2 {
					_, resp, body := s.try("/ws", tc.out)
					if resp.StatusCode != tc.status || !strings.Contains(body, `"code":"`+tc.as.String()+`"`) || resp.Header.Get("Retry-After") != "1" {
						t.Fatalf("%s %s, Retry-After %q; want %d %s", resp.Status, body, resp.Header.Get("Retry-After"), tc.status, tc.as)
					}
				}
				if n := s.metric("handshakes_refused_total", tc.as.String()); n != before+2 {
					t.Fatalf("%v refused as %s, want %v", n, tc.as, before+2)
				}
				if tc.other != nil {
					peers = append(peers, s.open("/ws", tc.other))
				}
				for _, p := range peers {
					_ = p.Close()
				}
				s.handler.Wait()
			}
			s.handler.places.mu.Lock()
			defer s.handler.places.mu.Unlock()
			if n, m := len(s.handler.places.addresses), len(s.handler.places.subjects); n+m > 0 {
				t.Fatalf("%d addresses and %d subjects are remembered that have no connection", n, m)
			}
		})
	}
}

// A limit of a subject holds for those who say who they are in a message too, and the place is theirs until they go.
func TestLimitOfASubjectInAMessage(t *testing.T) {
	t.Parallel()
	s, _ := guarded(t, overTCP, func(c *Config) { c.Limits.PerSubject = 1 })
	for range 2 {
		first := s.open("/ws", nil)
		first.send(authMessage("anna.1"))
		ses := <-s.sessions
		p := s.open("/ws", nil)
		p.send(authMessage("anna.2"))
		code, texts := p.closeCode()
		if code != int(wire.CloseTooMany) || len(texts) != 1 || !strings.Contains(texts[0], `"too_many_connections"`) {
			t.Fatalf("close code %d, messages %q", code, texts)
		}
		first.send(authMessage("anna.3")) // a refresh needs no other place
		if got := <-ses.asked; got != "refresh anna.3" {
			t.Fatalf("asked %s", got)
		}
		_ = first.Close()
		ses.ended(t)
		s.handler.Wait()
	}
}

// Who has said who they are makes room for others who have not.
func TestGuestsMakeRoom(t *testing.T) {
	t.Parallel()
	s, _ := guarded(t, overTCP, func(c *Config) { c.Limits.Unauthenticated, c.Limits.UnauthenticatedPerAddress = 1, 1 })
	for range 3 {
		p := s.open("/ws", from("192.0.2.1", ""))
		p.send(authMessage("anna.1"))
		ses := <-s.sessions
		p.send(text(`{"type":"unsubscribe","links":[]}`)) // what is answered after the place was given back
		<-ses.asked
	}
}

// Handshakes a second: as many at once as may be, then one after the other, and a flood takes nobody's turn for longer
// than it lasts. Who is refused for another reason uses up nothing.
func TestHandshakeRate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, _ := guarded(t, overPipe, func(c *Config) {
			c.Limits = Limits{Connections: 100, PerAddress: 50, Handshakes: 10, HandshakeBurst: 20}
		})
		try := func(want int) {
			t.Helper()
			p, resp, body := s.try("/ws", bearerOf("expired"))
			defer p.Close()
			if resp.StatusCode != want {
				t.Fatalf("%s %s, want %d", resp.Status, body, want)
			}
			if want == 503 && (!strings.Contains(body, `"code":"rate"`) || resp.Header.Get("Retry-After") != "1") {
				t.Fatalf("%s, Retry-After %q", body, resp.Header.Get("Retry-After"))
			}
		}
		for range 20 {
			try(http.StatusUnauthorized)
		}
		for range 200 {
			try(http.StatusServiceUnavailable)
		}
		for range 5 {
			time.Sleep(100 * time.Millisecond)
			try(http.StatusUnauthorized)
			try(http.StatusServiceUnavailable)
		}
		time.Sleep(time.Hour)
		for range 20 {
			try(http.StatusUnauthorized)
		}
		try(http.StatusServiceUnavailable)
		if n := s.metric("handshakes_refused_total", "rate"); n != 206 {
			t.Fatalf("%v were refused, want 206", n)
		}
	})
}

// One client's handshakes are its own: as many at once as it may have connections, then one after the other, and who is at
// another address does not notice.
func TestHandshakeRateOfAnAddress(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, _ := guarded(t, overPipe, func(c *Config) {
			c.Limits = Limits{Connections: 100, PerAddress: 20, Handshakes: 50, HandshakeBurst: 60, AddressHandshakes: 10}
		})
		try := func(address string, want int) {
			t.Helper()
			p, resp, body := s.try("/ws", from(address, "expired"))
			defer p.Close()
			if resp.StatusCode != want || want == 429 && (!strings.Contains(body, `"code":"address_rate"`) || resp.Header.Get("Retry-After") != "1") {
				t.Fatalf("%s %s, Retry-After %q; want %d", resp.Status, body, resp.Header.Get("Retry-After"), want)
			}
		}
		for range 20 {
			try("192.0.2.1", http.StatusUnauthorized)
		}
		for range 500 {
			try("192.0.2.1", http.StatusTooManyRequests)
		}
		other := "192.0.2.2"
		for i := 3; s.handler.gates.of(addressOf(netip.MustParseAddr(other))) == s.handler.gates.of(addressOf(netip.MustParseAddr("192.0.2.1"))); i++ {
			other = fmt.Sprint("192.0.2.", i) // one in four thousand shares the gate
		}
		for range 20 { // none of which was taken from the gateway's own
			try(other, http.StatusUnauthorized)
		}
		for range 5 {
			time.Sleep(100 * time.Millisecond)
			try("192.0.2.1", http.StatusUnauthorized)
			try("192.0.2.1", http.StatusTooManyRequests)
		}
		if n := s.metric("handshakes_refused_total", "address_rate"); n != 505 {
			t.Fatalf("%v were refused, want 505", n)
		}
		time.Sleep(time.Minute)
		for i := range 1000 { // from everywhere, and nothing of them is kept
			try(fmt.Sprintf("2001:db8:%x::1", i), http.StatusUnauthorized)
			time.Sleep(20 * time.Millisecond)
		}
	})
}

// A handshake that does not come takes no place, and its connection is closed: after five seconds, or as soon as it is too
// long.
func TestSlowAndLongHandshakes(t *testing.T) {
	t.Parallel()
	const begin = "GET /ws HTTP/1.1\r\nHost: gateway.test\r\n"
	for name, tc := range map[string]struct {
		send   func(*peer)
		after  time.Duration
		answer string
	}{
		"silence": {func(*peer) {}, 5 * time.Second, ""},
		"headers that trickle in": {func(p *peer) {
			for _, b := range []byte(begin + "Authorization: Bearer anna.1\r\n\r\n") {
				p.send([]byte{b})
				time.Sleep(time.Second)
			}
		}, 5 * time.Second, "HTTP/1.1 400 "},
		"headers that do not end": {func(p *peer) { p.send([]byte(begin)) }, 5 * time.Second, ""},
		"long headers": {func(p *peer) {
			p.send([]byte(begin + "Cookie: " + strings.Repeat("x", 64<<10) + "\r\n\r\n"))
		}, 0, "HTTP/1.1 431 "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, _ := guarded(t, overPipe, func(c *Config) { c.Limits.Connections = 1 })
				nc, err := s.dial()
				if err != nil {
					t.Fatal(err)
				}
				defer nc.Close()
				start := time.Now()
				var sending sync.WaitGroup
				sending.Go(func() { tc.send(&peer{t: t, Conn: nc}) })
				defer sending.Wait()
				synctest.Wait()
				first := s.open("/ws", bearerOf("anna.1")) // the one place is free
				got, _ := io.ReadAll(nc)
				took := time.Since(start)
				if !strings.HasPrefix(string(got), tc.answer) || tc.answer == "" && len(got) > 0 || took < tc.after || took > tc.after+time.Second {
					t.Fatalf("%q after %v, want %q after %v", got, took, tc.answer, tc.after)
				}
				_ = first.Close()
				(<-s.sessions).ended(t)
			})
		})
	}
}

func TestAddressOf(t *testing.T) {
	t.Parallel()
	seen := map[address]string{}
	for _, a := range []string{
		"192.0.2.1", "192.0.2.2", "0.0.0.0", "255.255.255.255", "::1", "2001:db8::", "2001:db8:0:1::", "fe80::1", "0:ffff:c000:202::",
	} {
		key := addressOf(netip.MustParseAddr(a))
		if other, taken := seen[key]; taken && a != "0:ffff:c000:202::" { // reserved: nobody is there
			t.Errorf("%s and %s are counted together", a, other)
		}
		seen[key] = a
	}
	if addressOf(netip.Addr{}) != 0 || addressOf(netip.MustParseAddr("fe80::1%eth0")) != addressOf(netip.MustParseAddr("fe80::2%eth1")) {
		t.Error("a zone is part of what is counted, or no address is one")
	}
}

// The operator is told once in a while what is likely to be wrong, without the address; where proxies are known, never.
func TestHintAtProxies(t *testing.T) {
	t.Parallel()
	for _, knows := range []bool{false, true} {
		t.Run(strconv.FormatBool(knows), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, _ := guarded(t, overPipe, func(c *Config) { c.Limits.PerAddress, c.KnowsProxies = 1, knows })
				p := s.open("/ws", from("192.0.2.77", "anna.1"))
				for range 3 {
					for range 100 {
						other, _, _ := s.try("/ws", from("192.0.2.77", "anna.1"))
						_ = other.Close()
					}
					time.Sleep(hintInterval)
				}
				want := 3
				if knows {
					want = 0
				}
				lines := s.logs.FilterMessageSnippet("--trusted-proxies").All()
				if len(lines) != want {
					t.Fatalf("%d lines, want %d", len(lines), want)
				}
				for _, l := range s.logs.All() {
					if strings.Contains(fmt.Sprint(l.Message, l.ContextMap()), "192.0.2") {
						t.Fatalf("the address is in the log: %v", l)
					}
				}
				_ = p.Close()
				(<-s.sessions).ended(t)
			})
		})
	}
}

// What clients show and where they are is in no log line and in no metric, whatever becomes of them.
func TestNothingOfClientsIsLogged(t *testing.T) {
	t.Parallel()
	s, _ := guarded(t, overTCP, func(c *Config) { c.QueryTokens, c.Limits.PerAddress = true, 30 })
	const secret = "eyJhbGciOiJFZERTQSJ9.secret"
	var told strings.Builder
	for _, path := range []string{"?access_token=" + secret, "?ticket=" + secret, "?token=" + secret, "?access_token=" + secret + "&ticket=" + secret} {
		p, _, body := s.try("/ws"+path, from("192.0.2.77", ""))
		told.WriteString(body)
		_ = p.Close()
	}
	for _, message := range []string{
		`{"type":"auth","token":"` + secret + `"}`, `{"type":"auth","tokn":"` + secret + `"}`, `{"type":"auth","token":["` + secret + `"]}`,
		secret, `"` + secret + `"`, `{"type":"auth","token":"` + secret,
	} {
		for _, header := range []http.Header{from("192.0.2.77", ""), from("192.0.2.77", "anna.1")} {
			p := s.open("/ws", header)
			p.send(append(text(message), masked(0x88, []byte{0x03, 0xe8})...))
			_, texts := p.closeCode()
			told.WriteString(strings.Join(texts, "\n"))
		}
	}
	for _, header := range []http.Header{
		from("192.0.2.77", secret+"\""), {"Sec-Websocket-Protocol": {secret}, "Authorization": {"Bearer expired"}}, {"Origin": {"https://" + secret}},
	} {
		_, _, body := s.try("/ws", header)
		told.WriteString(body)
	}
	for _, l := range s.logs.All() {
		fmt.Fprint(&told, l.Message, l.ContextMap())
	}
	families, err := s.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(&told, families)
	for _, what := range []string{"eyJ", "secret", "192.0.2"} {
		if strings.Contains(strings.ToLower(told.String()), strings.ToLower(what)) {
			t.Errorf("%q is told: %s", what, told.String())
		}
	}
	for len(s.sessions) > 0 {
		(<-s.sessions).ended(t)
	}
}

// Connections of every fate leave no descriptor and no goroutine behind.
func TestNothingIsLeft(t *testing.T) { //nolint:paralleltest // others have descriptors too
	descriptors := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Skip("no /proc")
		}
		return len(entries)
	}
	s, _ := guarded(t, overTCP, func(c *Config) { c.Limits = Limits{Connections: 1000, PerSubject: 5, Unauthenticated: 20} })
	before := 0
	for round := range 3 {
		var peers []*peer
		for i := range 40 {
			for _, header := range []http.Header{nil, bearerOf("expired"), bearerOf(fmt.Sprint("anna.", i))} {
				p, _, _ := s.try("/ws", header)
				peers = append(peers, p)
			}
			p, resp, _ := s.try("/ws", nil)
			if resp.StatusCode == http.StatusSwitchingProtocols {
				p.send([][]byte{authMessage(fmt.Sprint("bert.", i)), authMessage("expired"), text("x"), {0xff}}[i%4])
			}
			peers = append(peers, p)
		}
		s.handler.Dismiss()
		for _, p := range peers {
			_ = p.Close()
		}
		s.handler.Wait()
		for len(s.sessions) > 0 {
			(<-s.sessions).ended(t)
		}
		if round == 0 {
			before = descriptors() // with the listener, and what the first round needed
		}
	}
	for range 500 { // net/http closes the sockets of those who were refused when it notices
		if descriptors() <= before {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("%d descriptors, %d before", descriptors(), before)
}
