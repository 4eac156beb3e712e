package bench

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha1" //nolint:gosec // RFC 6455 section 1.3 says SHA-1; nothing depends on its strength
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// dashboard is one connection that watches some links.
type dashboard struct {
	run   *run
	conn  net.Conn // until attach
	line  line
	in    frameReader
	mask  [4]byte
	links []int   // the links it watches, in order
	told  []int64 // of each of them, the last count told; -1: not subscribed yet
}

// subscribeChunk is how many links one subscribe names: 200 ids of the longest kind stay below the limit of a message.
const subscribeChunk = 100

// connect opens the WebSocket and subscribes. The answers are read once it is attached.
func (d *dashboard) connect(ctx context.Context, gateway string) error {
	at, err := url.Parse(gateway)
	if err != nil || at.Scheme != "http" || at.Host == "" {
		return fmt.Errorf("gateway %q: want a URL like http://127.0.0.1:8081", gateway)
	}
	if d.conn, err = d.run.dial(ctx, "tcp", at.Host); err != nil {
		return err
	}
	if _, err := rand.Read(d.mask[:]); err != nil {
		return err
	}
	if err := d.handshake(ctx, at); err != nil {
		_ = d.conn.Close()
		return fmt.Errorf("upgrading to WebSocket at %s: %w", at.Host, err)
	}
	for links := d.links; len(links) > 0; {
		n := min(len(links), subscribeChunk)
		names := make([]string, n)
		for i, link := range links[:n] {
			names[i] = d.run.name(link)
		}
		links = links[n:]
		message, err := json.Marshal(map[string]any{"type": "subscribe", "links": names})
		if err != nil {
			return err
		}
		if _, err := d.conn.Write(clientFrame(opText, message, d.mask)); err != nil {
			return err
		}
	}
	return nil
}

// handshake is the opening one of RFC 6455 section 4.1. What the server sent behind it goes to the frame reader.
func (d *dashboard) handshake(ctx context.Context, at *url.URL) error {
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(time.Minute)
	}
	if err := d.conn.SetDeadline(deadline); err != nil {
		return err
	}
	var nonce [16]byte
	if _, err := rand.Read(nonce[:]); err != nil {
		return err
	}
	key := base64.StdEncoding.EncodeToString(nonce[:])
	authorization := ""
	if token := d.run.target.Token; token != "" {
		authorization = "Authorization: Bearer " + token + "\r\n"
	}
	_, err := fmt.Fprintf(d.conn, "GET %s/ws HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n%s\r\n", strings.TrimSuffix(at.Path, "/"), at.Host, key, authorization)
	if err != nil {
		return err
	}
	r := bufio.NewReader(d.conn)
	resp, err := http.ReadResponse(r, &http.Request{Method: http.MethodGet})
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusSwitchingProtocols {
		return errors.New(resp.Status)
	}
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")) //nolint:gosec // as above
	if resp.Header.Get("Sec-WebSocket-Accept") != base64.StdEncoding.EncodeToString(sum[:]) {
		return errors.New("the answer is not to this handshake")
	}
	early, err := r.Peek(r.Buffered())
	if err != nil {
		return err
	}
	for len(early) > 0 {
		n := copy(d.in.space(), early)
		d.in.filled(n)
		early = early[n:]
	}
	return d.conn.SetDeadline(time.Time{})
}

// attach hands the connection to the notifier that watches it from now on.
func (d *dashboard) attach(n notifier) (err error) {
	d.line, err = n.add(d.conn, d)
	return err
}

// readable implements handler.
func (d *dashboard) readable() error {
	n, err := d.line.Read(d.in.space())
	if err == nil {
		d.in.filled(n)
		err = d.frames()
	}
	if err != nil {
		return fmt.Errorf("a dashboard is gone: %w", err)
	}
	return nil
}

// frames handles every whole frame that was read. They arrived together: they share one time.
func (d *dashboard) frames() error {
	now := d.run.now()
	for {
		op, payload, ok, err := d.in.next()
		if err != nil || !ok {
			return err
		}
		switch op {
		case opText:
			if err := d.message(payload, now); err != nil {
				return err
			}
		case opPing:
			if _, err := d.line.Write(clientFrame(opPong, payload, d.mask)); err != nil {
				return err
			}
		case opClose:
			return fmt.Errorf("the gateway closed the connection: %q", payload[min(len(payload), 2):])
		}
	}
}

func (d *dashboard) message(payload []byte, now time.Duration) error {
	u, ok, err := parseUpdate(payload)
	switch {
	case err != nil:
		return err
	case ok:
		return d.update(u, now)
	case bytes.HasPrefix(payload, []byte(`{"type":"subscribed"`)):
		return d.subscribed(payload, now)
	case bytes.HasPrefix(payload, []byte(`{"type":"error"`)):
		return fmt.Errorf("the gateway answered %s", payload)
	}
	return nil // ready, heartbeat, goodbye: the close that follows a goodbye is what counts
}

func (d *dashboard) subscribed(payload []byte, now time.Duration) error {
	var m struct {
		Links []struct {
			Link  string
			Count int64
		}
		Denied []string
	}
	if err := json.Unmarshal(payload, &m); err != nil {
		return fmt.Errorf("reading a subscribed: %w", err)
	}
	if len(m.Denied) > 0 {
		return fmt.Errorf("%w: mint one for %s*", errDenied, linkPrefix)
	}
	for _, l := range m.Links {
		link, err := d.run.index([]byte(l.Link))
		if err != nil {
			return err
		}
		told := d.of(link)
		if told == nil || *told >= 0 {
			return fmt.Errorf("link %s is answered with %d, and was before or is not watched", l.Link, l.Count)
		}
		if l.Count < 0 || l.Count > int64(len(d.run.plan.due[link])) {
			return fmt.Errorf("link %s: told %d; %d clicks are planned", l.Link, l.Count, len(d.run.plan.due[link]))
		}
		d.run.covered(link, 0, l.Count, now) // late answers may cover clicks already
		*told = l.Count
		d.run.subscribed()
	}
	return nil
}

func (d *dashboard) update(u update, now time.Duration) error {
	link, err := d.run.index(u.link)
	if err != nil {
		return err
	}
	told := d.of(link)
	if told == nil || *told < 0 {
		return fmt.Errorf("an update of %s before its subscribed", u.link)
	}
	before := *told
	if before+u.delta != u.count || u.delta <= 0 || u.count > int64(len(d.run.plan.due[link])) {
		return fmt.Errorf("link %s: told %d, then %d with delta %d; %d clicks are planned",
			u.link, before, u.count, u.delta, len(d.run.plan.due[link]))
	}
	*told = u.count
	d.run.frame(now)
	d.run.covered(link, before, u.count, now)
	return nil
}

// of returns where the last count of a link is kept, nil if the dashboard does not watch it.
func (d *dashboard) of(link int) *int64 {
	if i, ok := slices.BinarySearch(d.links, link); ok {
		return &d.told[i]
	}
	return nil
}

// name is the id of a link of this run. No other run has it, so its count starts at 0.
func (r *run) name(link int) string { return string(r.appendName(nil, link)) }

// appendName appends the name of a link.
func (r *run) appendName(dst []byte, link int) []byte {
	return strconv.AppendInt(append(dst, r.prefix...), int64(link), 10)
}

// index is the inverse of name.
func (r *run) index(name []byte) (int, error) {
	digits, ok := bytes.CutPrefix(name, []byte(r.prefix))
	link, err := strconv.Atoi(string(digits))
	if !ok || err != nil || link < 0 || link >= len(r.plan.due) {
		return 0, fmt.Errorf("the gateway told of %q, which is no link of this run", name)
	}
	return link, nil
}
