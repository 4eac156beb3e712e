package ws

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/zap"

	"github.com/linkpulse/linkpulse/pkg/auth"
	"github.com/linkpulse/linkpulse/pkg/wire"
)

// Session is what a connection asks of the hub. All but Heard and Drained are called by the reader, one at a time, and
// return when the hub has taken the request.
type Session interface {
	Subscribe(links []string, interval time.Duration)
	Unsubscribe(links []string)
	Refresh(id *auth.Identity)
	Fail(code wire.ErrorCode, message string)
	Close(code wire.CloseCode)
	Heard()
	Drained()
	Gone(code wire.CloseCode, condition string)
}

// Authenticator tells who somebody is by what they show. Errors are *auth.RefusedError. It is safe for concurrent use.
type Authenticator interface {
	// Token verifies a token. It waits for its turn, for a second at most.
	Token(ctx context.Context, token string) (*auth.Identity, error)
	// Ticket redeems a ticket that was sent with an Origin header, empty where there was none.
	Ticket(ctx context.Context, ticket, origin string) (*auth.Identity, error)
	// Revoked tells whether an identity was revoked since.
	Revoked(id *auth.Identity) bool
}

// ErrUnavailable is what [Config].Join returns, or wraps, while the gateway takes no sessions.
var ErrUnavailable = errors.New("the gateway takes no connections now")

// Config of a [Handler].
type Config struct {
	// Join makes a connection a session of somebody. It must not call the connection: it may only be written to once Join
	// is over.
	Join func(c *Conn, id *auth.Identity) (Session, error)
	// Accepting tells whether Join would succeed, before the upgrade: nil, or an error that wraps ErrUnavailable.
	Accepting func() error
	// Auth tells who clients are; nil: authentication is off, and everybody may see everything.
	Auth Authenticator
	// QueryTokens takes a token out of the query of a handshake, which ends up in the logs of proxies.
	QueryTokens bool
	// Limits of connections.
	Limits Limits
	// Address returns the address of the client that a request comes from, the zero value where it is not known.
	Address func(*http.Request) netip.Addr
	// KnowsProxies says that Address looks behind proxies.
	KnowsProxies bool
	// Patience is how long a peer may take no byte of what waits for it: two heartbeats.
	Patience time.Duration
	// Origins are the patterns of origins beside the gateway's own that browsers may connect from, with their scheme.
	Origins []string
	// Hosts, unless empty, are the only names that the Host header may have. It stops DNS rebinding: a page of another
	// site whose name was made to point here is of the same origin as far as the browser can tell.
	Hosts []string
	// Log takes what an operator should know. Nothing of a client is in it.
	Log *zap.Logger
	// Metrics takes what is refused and received.
	Metrics *Metrics
}

// Handler upgrades requests to WebSocket connections. It is safe for concurrent use.
type Handler struct {
	cfg     Config
	accept  websocket.AcceptOptions
	ctx     context.Context //nolint:containedctx // the context of all reads, see New
	anybody *auth.Identity  // everybody's, where authentication is off
	places  places
	gate    gate  // of all handshakes
	gates   gates // of those of an address
	lobby   lobby
	hinted  hint
	start   time.Time
	buffers sync.Pool
}

// New returns a handler.
func New(cfg Config) *Handler {
	h := &Handler{cfg: cfg, start: time.Now(), anybody: auth.Anybody()}
	h.places.limits, h.gates.seed = cfg.Limits, maphash.MakeSeed()
	h.accept = websocket.AcceptOptions{OriginPatterns: cfg.Origins, CompressionMode: websocket.CompressionDisabled}
	// A read ends when the socket is closed. A context that can be cancelled would cost the library a goroutine's worth
	// of bookkeeping for every frame header.
	h.ctx = context.Background() //nolint:forbidigo // see above
	h.buffers.New = func() any { return new(buffer) }
	return h
}

// Wait returns when there is no connection and no upgrade under way, and no goroutine of any is left. It does not close
// any: the hub does, and Dismiss.
func (h *Handler) Wait() { h.places.wait() }

// Open returns how many connections and upgrades under way there are.
func (h *Handler) Open() int {
	open, _ := h.places.taken()
	return open
}

// ServeHTTP upgrades a request, or says why not. It returns as soon as the connection is a session, or is waited for to
// say who it is.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	shown, why := h.examine(w.Header(), r)
	if why != nil {
		h.refuse(w, why)
		return
	}
	c := &Conn{h: h, address: addressOf(h.cfg.Address(r))}
	if why = h.enter(c, shown); why != nil {
		h.refuse(w, why)
		return
	}
	why = h.identify(r, c, shown)
	if why == nil && h.upgrade(w, r, c) {
		return
	}
	h.leave(c)
	if why != nil {
		h.refuse(w, why)
	}
}

// upgrade makes the request a connection and starts its reader.
func (h *Handler) upgrade(w http.ResponseWriter, r *http.Request, c *Conn) bool {
	opts := h.accept
	opts.OnPingReceived, opts.OnPongReceived = c.pinged, c.ponged
	ws, err := websocket.Accept(&hijacker{ResponseWriter: w, conn: c}, r, &opts)
	if err != nil { // which the client was told
		h.cfg.Metrics.refused[refusedHandshake].Inc()
		return false
	}
	ws.SetReadLimit(-1) // the reader has a limit of its own, which names itself in the close frame
	if c.guest {
		h.receive(c)
	} else if err := h.join(c, c.id); err != nil { // the drain began meanwhile
		h.cfg.Metrics.refused[refusedUnavailable].Inc()
		const code = wire.CloseServiceRestart
		_, _ = c.TryWrite(wire.AppendCloseFrame(farewell(), code, code.String()), true) // or it is gone already
		_ = ws.CloseNow()
		return false
	}
	h.cfg.Metrics.accepted.Inc()
	go h.serve(c, ws)
	return true
}

// join makes a connection a session. What was revoked before the hub had it is not in what the hub is told to close, so
// it is looked at again.
func (h *Handler) join(c *Conn, id *auth.Identity) error {
	if err := c.join(func(c *Conn) (Session, error) { return h.cfg.Join(c, id) }); err != nil {
		return err
	}
	if h.revoked(id) {
		_ = h.closeRevoked(c) // what it returns ends a reader, and there is none yet
	}
	return nil
}

func (h *Handler) revoked(id *auth.Identity) bool { return h.cfg.Auth != nil && h.cfg.Auth.Revoked(id) }

// leave gives back what a connection has of the handler's.
func (h *Handler) leave(c *Conn) {
	subject := ""
	if c.id != nil {
		subject = c.id.Subject
	}
	if c.guest {
		h.cfg.Metrics.guests.Dec()
	}
	h.places.leave(c.address, c.guest, subject)
}

// hijacker is the ResponseWriter that makes Accept use our Conn and small buffers. It must not outlive the handler.
type hijacker struct {
	http.ResponseWriter
	conn *Conn
}

// The library's buffers: readBuffer takes control frames and short messages, the rest of longer ones is read past it; the
// largest control frame of a server, 2 + 125 bytes, fits in writeBuffer, so that it is one Write.
const (
	readBuffer  = 96
	writeBuffer = 128
)

// Hijack takes the connection from net/http.
func (w *hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	nc, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, fmt.Errorf("hijacking the connection: %w", err)
	}
	early, _ := rw.Peek(rw.Reader.Buffered()) // cannot fail: it is buffered
	w.conn.init(nc, early)
	return w.conn, bufio.NewReadWriter(bufio.NewReaderSize(w.conn, readBuffer), bufio.NewWriterSize(w.conn, writeBuffer)), nil
}
