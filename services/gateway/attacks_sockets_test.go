package gateway

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

func (a *attacker) silent() error {
	conns := make([]*rawClient, a.n)
	defer func() {
		for _, c := range conns {
			if c != nil {
				_ = c.Close()
			}
		}
	}()
	if err := each(a.n, func(i int) (err error) { // all of them are open before the first is waited for
		conns[i], err = a.dial(a.from)
		return err
	}); err != nil {
		return err
	}
	return each(a.n, func(i int) error { return closed(conns[i]) })
}

func (a *attacker) slowHeaders() error {
	return each(a.n, func(int) error {
		c, err := a.dial(a.from)
		if err != nil {
			return err
		}
		defer c.Close()
		go func() {
			for _, b := range []byte("GET /ws HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("y", 1<<10)) {
				if _, err := c.Write([]byte{b}); err != nil {
					return
				}
				time.Sleep(100 * time.Millisecond)
			}
		}()
		return closed(c)
	})
}

func (a *attacker) longHeaders() error {
	return each(a.n, func(int) error {
		c, err := a.dial(a.from)
		if err != nil {
			return err
		}
		defer c.Close()
		status, _, err := a.ask(c, c.r, "GET /ws", "Cookie: "+strings.Repeat("x", 24<<10))
		if err != nil || status != http.StatusRequestHeaderFieldsTooLarge {
			return fmt.Errorf("%d, %w", status, err)
		}
		return closed(c)
	})
}

func (a *attacker) slowBodies() error {
	return each(a.n, func(i int) error {
		c, err := a.dial(a.from)
		if err != nil {
			return err
		}
		defer c.Close()
		line := []string{"POST /v1/tickets", "GET /v1/counts?links=acme:busy-0", "GET /"}[i%3]
		_, err = fmt.Fprintf(c, "%s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nContent-Length: 1000\r\n\r\n", line, a.addr, a.token("mallory", "*"))
		for {
			select {
			case <-a.through:
				return err
			case <-time.After(100 * time.Millisecond):
				_, _ = c.Write([]byte("x")) // it may be closed by now
			}
		}
	})
}

func (a *attacker) neverReadAnswers() error {
	return each(a.n, func(int) error {
		c, err := a.dial(a.from)
		if err != nil {
			return err
		}
		defer c.Close()
		request := fmt.Sprintf("GET /v1/counts?links=acme:busy-0 HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\n\r\n", a.addr, a.token("mallory", "*"))
		go func() {
			for err == nil { // until its socket is full
				_, err = io.WriteString(c, request)
			}
		}()
		<-a.through
		return nil
	})
}
