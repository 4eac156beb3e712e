package gateway

import (
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/linkpulse/linkpulse/pkg/wire"
)

// guests connect and say nothing: some are let in and are closed, the others are refused.
func (a *attacker) guests() error {
	return each(a.n, func(int) error {
		c, status, code, err := a.knock(a.from, "/ws")
		if err != nil {
			return err
		}
		if c == nil {
			if status != http.StatusTooManyRequests || code != "address_unauthenticated" {
				return fmt.Errorf("refused with %d %s", status, code)
			}
			return nil
		}
		defer c.Close()
		if code, err := c.ends(); err != nil || code != int(wire.CloseAuthDeadline) {
			return fmt.Errorf("closed with %d, %w", code, err)
		}
		return nil
	})
}

func (a *attacker) rudeGuests() error {
	return each(a.n, func(i int) error {
		c, status, code, err := a.knock(a.from, "/ws")
		if err != nil || c == nil {
			return fmt.Errorf("refused with %d %s, %w", status, code, err)
		}
		defer c.Close()
		first := []string{
			`{"type":"subscribe","links":["acme:busy-0"]}`, `{"type":"auth","token":"eyJhbGciOiJub25lIn0.e30."}`, "hello", `{"type":"auth","tokn":"x"}`,
		}[i%4]
		_ = c.send(0x81, []byte(first))
		_ = c.send(0x81, []byte(`{"type":"subscribe","links":["acme:busy-0"]}`)) // it may be closed by now
		if code, err := c.ends(); err != nil || code != int(wire.CloseUnauthenticated) {
			return fmt.Errorf("%s is closed with %d, %w", first, code, err)
		}
		return nil
	})
}

func (a *attacker) badFrames() error {
	frames := []struct {
		bytes []byte
		code  wire.CloseCode
	}{
		{[]byte{0x81, 0x02, '{', '}'}, wire.CloseProtocolError},
		{[]byte{0x81, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, wire.CloseProtocolError},
		{[]byte{0xc1, 0x80, 0, 0, 0, 0}, wire.CloseProtocolError},
		{[]byte{0x83, 0x80, 0, 0, 0, 0}, wire.CloseProtocolError},
		{[]byte{0x88, 0x82, 0, 0, 0, 0, 0x03, 0xed}, wire.CloseProtocolError},
		{[]byte{0x88, 0x83, 0, 0, 0, 0, 0x03, 0xe8, 0xff}, wire.CloseInvalidUTF8},
		{[]byte{0x81, 0x81, 0, 0, 0, 0, 0xff}, wire.CloseInvalidUTF8},
		{[]byte{0x82, 0x80, 0, 0, 0, 0}, wire.CloseUnsupported},
		{[]byte{0x81, 0x81, 0, 0, 0, 0, 'x'}, wire.ClosePolicyViolation},
		{slices.Repeat([]byte{0x89, 0x80, 0, 0, 0, 0}, 1000), wire.ClosePolicyViolation},
		{append([]byte{0x81, 0xff, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0}, make([]byte, 64<<10)...), wire.CloseTooBig},
		{slices.Concat([]byte{0x01, 0x80, 0, 0, 0, 0}, slices.Repeat([]byte{0x00, 0x81, 0, 0, 0, 0, ' '}, 20<<10)), wire.CloseTooBig},
	}
	return each(a.n*len(frames), func(i int) error {
		c, err := a.enter(a.from, fmt.Sprint("mallory-", i), "*")
		if err != nil {
			return err
		}
		defer c.Close()
		f := frames[i%len(frames)]
		_, _ = c.Write(f.bytes) // it may be closed before the last byte
		if code, err := c.ends(); err != nil || code != int(f.code) {
			return fmt.Errorf("%.20x is closed with %d, %w; want %d", f.bytes, code, err, f.code)
		}
		return nil
	})
}

func (a *attacker) floods() error {
	return each(a.n, func(i int) error {
		c, err := a.enter(a.from, fmt.Sprint("mallory-", i), "*")
		if err != nil {
			return err
		}
		defer c.Close()
		go func() {
			var err error
			for err == nil {
				err = c.send(0x81, []byte(`{"type":"subscribe","links":["acme:busy-0"]}`))
			}
		}()
		if code, err := c.ends(); err != nil || code != int(wire.CloseTooMany) {
			return fmt.Errorf("closed with %d, %w", code, err)
		}
		return nil
	})
}

// neverRead subscribes to what changes all the time and reads nothing of it, not even pings: that is silence.
func (a *attacker) neverRead() error {
	const addresses = 5
	subnet := strings.TrimSuffix(a.from, "1")
	conns := make([]*rawClient, a.n)
	before := a.metric("linkpulse_gateway_sessions_dropped_total", "silent")
	if err := each(a.n, func(i int) error {
		c, err := a.enter(fmt.Sprint(subnet, 1+i%addresses), fmt.Sprint("mallory-", i), "acme:*")
		if err != nil {
			return err
		}
		conns[i] = c
		_ = c.Conn.(*net.TCPConn).SetReadBuffer(2 << 10)
		return c.send(0x81, wire.AppendClient(nil, wire.ClientMessage{Type: wire.TypeSubscribe, Links: busyLinks, IntervalMs: wire.KeepInterval}))
	}); err != nil {
		return err
	}
	defer func() {
		for _, c := range conns {
			_ = c.Close()
		}
	}()
	// None of them reads until as many have been cut off.
	for end := time.Now().Add(hang); a.metric("linkpulse_gateway_sessions_dropped_total", "silent") < before+float64(a.n) && time.Now().Before(end); {
		time.Sleep(50 * time.Millisecond)
	}
	return each(a.n, func(i int) error {
		if code, err := conns[i].ends(); err != nil || code != 0 {
			return fmt.Errorf("closed with %d, %w", code, err)
		}
		return nil
	})
}

// halfOpen takes what comes and says nothing: that is what a peer looks like whose network went away.
func (a *attacker) halfOpen() error {
	return each(a.n, func(i int) error {
		c, err := a.enter(a.from, fmt.Sprint("mallory-", i), "acme:*")
		if err != nil {
			return err
		}
		defer c.Close()
		if code, err := c.ends(); err != nil || code != 0 {
			return fmt.Errorf("closed with %d, %w; want no close frame", code, err)
		}
		return nil
	})
}
