package gateway

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/linkpulse/linkpulse/pkg/wire"
)

func (a *attacker) badTokens() error {
	good := a.token("mallory", "*")
	head, rest, _ := strings.Cut(good, ".")
	claims, signature, _ := strings.Cut(rest, ".")
	b64 := base64.RawURLEncoding.EncodeToString
	tokens := []string{
		"x", good + "A", head + "." + claims + ".", head + "." + b64([]byte(`{"sub":"admin","links":["*"]}`)) + "." + signature,
		b64([]byte(`{"alg":"none"}`)) + "." + claims + ".", b64([]byte(`{"alg":"HS256","kid":"k1"}`)) + "." + claims + "." + signature,
		b64([]byte(`{"alg":"EdDSA","kid":"k1","jku":"http://127.0.0.1/"}`)) + "." + claims + "." + signature,
		b64([]byte(`{"alg":"EdDSA","kid":"../../etc/passwd"}`)) + "." + claims + "." + signature, strings.Repeat("A", 4096), "a.b.c.d",
	}
	subnet := strings.TrimSuffix(a.from, "1")
	return each(a.n, func(i int) error {
		header, path := "Authorization: Bearer "+tokens[i%len(tokens)], "/ws"
		if i%5 == 0 {
			header, path = "X: y", "/ws?ticket="+tokens[i%len(tokens)][:1]
		}
		c, status, code, err := a.knock(fmt.Sprint(subnet, 1+i%10), path, header)
		switch {
		case err != nil:
			return err
		case c != nil:
			_ = c.Close()
			return fmt.Errorf("%.40s is let in", header)
		case isBusy(status, code):
			return nil
		case status != http.StatusUnauthorized || code != "bad_token" && code != "bad_ticket":
			return fmt.Errorf("%.40s: %d %s", header, status, code)
		}
		return nil
	})
}

// sharedToken has no more connections at a time than a subject may.
func (a *attacker) sharedToken() error {
	in := make(chan *rawClient, a.n)
	err := each(a.n, func(int) error {
		for end := time.Now().Add(hang); ; time.Sleep(100 * time.Millisecond) {
			c, status, code, err := a.knock(a.from, "/ws", "Authorization: Bearer "+a.token("mallory-shares", "*"))
			switch {
			case c != nil:
				in <- c
				return nil
			case err != nil || status == http.StatusTooManyRequests && code == "subject":
				return err
			case !isBusy(status, code) || time.Now().After(end):
				return fmt.Errorf("refused with %d %s", status, code)
			}
		}
	})
	close(in)
	for c := range in {
		_ = c.Close()
	}
	return err
}

// handshakes opens connections and resets them, as fast as it goes.
func (a *attacker) handshakes() error {
	return each(a.n, func(i int) error {
		c, status, code, err := a.knock(a.from, "/ws", "Authorization: Bearer "+a.token(fmt.Sprint("mallory-", i), "*"))
		if c != nil {
			_ = c.Conn.(*net.TCPConn).SetLinger(0)
			return c.Close()
		}
		if err != nil || !isBusy(status, code) && (status != http.StatusTooManyRequests || code != "address_rate" && code != "address") {
			return fmt.Errorf("refused with %d %s, %w", status, code, err)
		}
		return nil
	})
}

// foreignLinks subscribes to what is beside its grant, and listens for as long as anybody clicks.
func (a *attacker) foreignLinks() error {
	return each(a.n, func(i int) error {
		c, err := a.enter(a.from, fmt.Sprint("mallory-", i), "acme:*")
		if err != nil {
			return err
		}
		defer c.Close()
		ask := wire.AppendClient(nil, wire.ClientMessage{Type: wire.TypeSubscribe, Links: append([]string{busyLinks[0]}, foreignLinks...), IntervalMs: wire.KeepInterval})
		if err := c.send(0x81, ask); err != nil {
			return err
		}
		denied, updates := false, 0
		for {
			select {
			case <-a.through:
				if !denied || updates == 0 {
					return fmt.Errorf("denied: %v, after %d updates", denied, updates)
				}
				return nil
			default:
			}
			op, payload, err := c.frame()
			if err != nil {
				return err
			}
			if op == 9 {
				if err := c.send(0x8a, payload); err != nil {
					return err
				}
				continue
			}
			m, err := wire.DecodeServer(payload)
			if err != nil {
				return err
			}
			switch m := m.(type) {
			case wire.Subscribed:
				if len(m.Denied) > 0 {
					denied = slices.Equal(m.Denied, foreignLinks)
				}
				for _, l := range m.Links {
					if l.Link != busyLinks[0] {
						return fmt.Errorf("subscribed to %s", l.Link)
					}
				}
			case wire.Update:
				if updates++; m.Link != busyLinks[0] {
					return fmt.Errorf("told of %s", m.Link)
				}
			default:
			}
		}
	})
}

func (a *attacker) otherPages() error {
	token := "Authorization: Bearer " + a.token("mallory", "*")
	return each(a.n, func(i int) error {
		header := []string{
			"Origin: https://evil.test", "Origin: null", "Origin: http://" + a.addr + ".evil.test", "Host: evil.test", "Host: localhost.evil.test",
		}[i%5]
		c, status, code, err := a.knock(a.from, "/ws", token, header)
		if err != nil || c != nil || status != http.StatusForbidden || code != "origin" && code != "host" {
			return fmt.Errorf("%s: %d %s, %w", header, status, code, err)
		}
		if c, status, code, err = a.knock(a.from, "/ws?access_token="+token[len("Authorization: Bearer "):]); c != nil || status != 400 || code != "token_in_query" {
			return fmt.Errorf("a token in the query: %d %s, %w", status, code, err)
		}
		return nil
	})
}

// requests asks for links at random over plain HTTP.
func (a *attacker) requests() error {
	token := "Authorization: Bearer " + a.token("mallory", "*")
	return each(a.n, func(i int) error {
		c, err := a.dial(a.from)
		if err != nil {
			return err
		}
		defer c.Close()
		for k := range 3 {
			status, code, err := a.ask(c, c.r, fmt.Sprintf("GET /links/random-%d-%d/clicks", i, k), token)
			if err != nil || status != http.StatusOK && status != http.StatusServiceUnavailable {
				return fmt.Errorf("%d %s, %w", status, code, err)
			}
		}
		status, code, err := a.ask(c, c.r, "GET /v1/counts?links="+strings.Repeat("x,", 3000), token)
		if err != nil || status != http.StatusRequestURITooLong {
			return fmt.Errorf("a long query: %d %s, %w", status, code, err)
		}
		return nil
	})
}

// logWords puts what would change a log into everything that a client can say.
func (a *attacker) logWords() error {
	words := []string{
		mark + `\n{"level":"info","msg":"` + mark + `"}`, mark + "\x1b[2J\x1b[1;31m" + mark, strings.Repeat(mark, 300), mark + "%s%n%!d(" + mark, mark + "\u2028\u202e" + mark,
	}
	return each(a.n*len(words), func(i int) error {
		word := words[i%len(words)]
		token := a.token(fmt.Sprint("mallory-", i), "*")
		c, err := a.enter(a.from, fmt.Sprint("mallory-", i), "*")
		if err != nil {
			return err
		}
		defer c.Close()
		for _, m := range []any{
			map[string]any{"type": word},
			map[string]any{"type": "subscribe", word: 1},
			map[string]any{"type": "subscribe", "links": []string{word}},
			map[string]any{"type": "unsubscribe", "links": []string{word}},
			map[string]any{"type": "auth", "token": word},
		} {
			b, err := json.Marshal(m)
			if err != nil {
				return err
			}
			if err := c.send(0x81, b); err != nil {
				return err
			}
		}
		_ = c.send(0x88, append([]byte{0x0f, 0xa0}, word[:min(len(word), 100)]...))
		if _, err := c.ends(); err != nil {
			return err
		}
		for _, request := range []string{
			"GET /" + word, "GET /ws?" + word, "GET /ws?ticket=" + word, "GET /links/" + word + "/clicks", "GET /v1/counts?" + word + "=1", word + " /ws", word,
		} {
			for _, header := range []string{
				"Host", "Origin", "User-Agent", "Authorization", "Cookie", "X-Forwarded-For", "X-Request-Id", "Traceparent", "Referer", "Upgrade", "Connection",
				"Sec-WebSocket-Protocol", "Sec-WebSocket-Key", "Sec-WebSocket-Version", "Content-Length", "Transfer-Encoding", "Expect", word,
			} {
				plain, err := a.dial(a.from)
				if err != nil {
					return err
				}
				_, err = fmt.Fprintf(plain, "%s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\n%s: %s\r\nConnection: close\r\n\r\n", request, a.addr, token, header, word)
				_ = plain.Conn.(*net.TCPConn).CloseWrite() // it may be closed by now
				if err := errors.Join(err, closed(plain), plain.Close()); err != nil {
					return err
				}
			}
		}
		return nil
	})
}
