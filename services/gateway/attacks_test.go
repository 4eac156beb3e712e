package gateway

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// attacker is one kind of hostile client, in numbers, from an address of its own.
type attacker struct {
	*siege
	n       int
	from    string
	through <-chan struct{} // closed when those are through that do not hold out
}

// attacks are the kinds. Each returns what was not as documented.
func attacks() []struct {
	name   string
	n      int
	holds  bool // until the others are through
	attack func(*attacker) error
} {
	return []struct {
		name   string
		n      int
		holds  bool
		attack func(*attacker) error
	}{
		{"sockets that ask for nothing", 400, false, (*attacker).silent},
		{"headers that trickle in", 50, false, (*attacker).slowHeaders},
		{"headers without end", 20, false, (*attacker).longHeaders},
		{"bodies that trickle in", 20, true, (*attacker).slowBodies},
		{"answers that nobody reads", 20, true, (*attacker).neverReadAnswers},
		{"guests who say nothing", 40, false, (*attacker).guests},
		{"guests who say something else", 10, false, (*attacker).rudeGuests},
		{"frames that break the rules", 10, false, (*attacker).badFrames},
		{"messages without end", 5, false, (*attacker).floods},
		{"never reading", 500, false, (*attacker).neverRead},
		{"not there any more", 50, false, (*attacker).halfOpen},
		{"tokens that are none", 300, false, (*attacker).badTokens},
		{"a token that is shared around", 30, false, (*attacker).sharedToken},
		{"handshakes without end", 600, false, (*attacker).handshakes},
		{"links of others", 10, true, (*attacker).foreignLinks},
		{"other pages and other names", 10, false, (*attacker).otherPages},
		{"requests without end", 300, false, (*attacker).requests},
		{"words for the log", 3, false, (*attacker).logWords},
	}
}

// each runs f n times at once, at most 64 at a time, and returns the first few errors.
func each(n int, f func(i int) error) error {
	const most, told = 64, 3
	var wg sync.WaitGroup
	var mu sync.Mutex
	var errs []error
	places := make(chan struct{}, most)
	for i := range n {
		places <- struct{}{}
		wg.Go(func() {
			defer func() { <-places }()
			if err := f(i); err != nil {
				mu.Lock()
				defer mu.Unlock()
				if len(errs) < told {
					errs = append(errs, fmt.Errorf("number %d: %w", i, err))
				}
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// dial connects from an address, for as long as anything may take.
func (a *attacker) dial(from string) (*rawClient, error) {
	c, err := dialFrom(context.Background(), from, a.addr)
	if err != nil {
		return nil, err
	}
	if err := c.SetDeadline(time.Now().Add(2 * hang)); err != nil {
		return nil, err
	}
	return &rawClient{Conn: c, r: bufio.NewReaderSize(c, 4096)}, nil
}

const goodHandshake = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"

// ask sends a request, and returns its answer. Of a refusal it returns the code too.
func (a *attacker) ask(c net.Conn, r *bufio.Reader, line string, header ...string) (status int, code string, err error) {
	host := "Host: " + a.addr + "\r\n"
	for _, h := range header {
		if strings.HasPrefix(h, "Host:") {
			host = ""
		}
	}
	text := line + " HTTP/1.1\r\n" + host + strings.Join(append(header, "\r\n"), "\r\n")
	if _, err = io.WriteString(c, strings.ReplaceAll(text, "\r\n\r\n\r\n", "\r\n\r\n")); err != nil {
		return 0, "", err
	}
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusSwitchingProtocols {
		return resp.StatusCode, "", nil
	}
	var p struct{ Code string }
	body, err := io.ReadAll(resp.Body)
	if resp.Header.Get("Content-Type") == "application/problem+json" {
		err = errors.Join(err, json.Unmarshal(body, &p))
	}
	return resp.StatusCode, p.Code, err
}

// knock tries a handshake and returns the connection if it is one.
func (a *attacker) knock(from, path string, header ...string) (c *rawClient, status int, code string, err error) {
	if c, err = a.dial(from); err != nil {
		return nil, 0, "", err
	}
	status, code, err = a.ask(c, c.r, "GET "+path, append(header, strings.TrimSuffix(goodHandshake, "\r\n"))...)
	if err != nil || status != http.StatusSwitchingProtocols {
		_ = c.Close()
		return nil, status, code, err
	}
	return c, status, "", nil
}

// enter opens a connection that must be let in, as soon as there is room to verify its token.
func (a *attacker) enter(from, subject string, links ...string) (*rawClient, error) {
	for end := time.Now().Add(hang); ; time.Sleep(100 * time.Millisecond) {
		c, status, code, err := a.knock(from, "/ws", "Authorization: Bearer "+a.token(subject, links...))
		if err == nil && c == nil && (!isBusy(status, code) || time.Now().After(end)) {
			err = fmt.Errorf("refused with %d %s", status, code)
		}
		if c != nil || err != nil {
			return c, err
		}
	}
}

// isBusy tells whether a client was refused because as many tokens wait to be verified as may.
func isBusy(status int, code string) bool {
	return status == http.StatusServiceUnavailable && code == "overloaded"
}

// ends waits until the server has hung up, and returns the code of its close frame, 0 if there was none.
func (c *rawClient) ends() (code int, err error) {
	for {
		op, payload, err := c.frame()
		switch {
		case isTimeout(err):
			return 0, errors.New("it is not closed")
		case err != nil:
			return code, nil //nolint:nilerr // that is how it ends
		case op == 8 && len(payload) >= 2:
			code = int(binary.BigEndian.Uint16(payload))
		}
	}
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

// closed waits until the server has hung up on a plain connection.
func closed(c net.Conn) error {
	if _, err := io.Copy(io.Discard, c); isTimeout(err) {
		return errors.New("it is not closed")
	}
	return nil // a reset is as good
}
