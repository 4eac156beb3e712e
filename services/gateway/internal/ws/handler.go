package ws

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/zap"

	"github.com/linkpulse/linkpulse/pkg/auth"
	"github.com/linkpulse/linkpulse/pkg/problem"
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

// ErrUnavailable is what [Config].Join returns, or wraps, while the gateway takes no sessions.
var ErrUnavailable = errors.New("the gateway takes no connections now")

// Config of a [Handler].
type Config struct {
	// Join makes a connection a session. It must not call the connection: it may only be written to once Join is over.
	Join func(c *Conn) (Session, error)
	// Accepting tells whether Join would succeed, before the upgrade: nil, or an error that wraps ErrUnavailable.
	Accepting func() error
	// MaxConnections bounds the connections of this gateway: each costs about 13 KiB, half of it the kernel's.
	MaxConnections int
	// Patience is how long a peer may take no byte of what waits for it: two heartbeats.
	Patience time.Duration
	// Origins are the patterns of origins beside the gateway's own that browsers may connect from, with their scheme.
	Origins []string
	// Hosts, unless empty, are the only names that the Host header may have. It stops DNS rebinding: a page of another
	// site whose name was made to point here is of the same origin as far as the browser can tell.
	Hosts []string
	// Log takes what happens to connections, at debug level.
	Log *zap.Logger
	// Metrics takes what is refused and received.
	Metrics *Metrics
}

// Handler upgrades requests to WebSocket connections. It is safe for concurrent use.
type Handler struct {
	cfg     Config
	accept  websocket.AcceptOptions
	ctx     context.Context //nolint:containedctx // the context of all reads, see New
	places  places
	start   time.Time
	buffers sync.Pool
}

// New returns a handler.
func New(cfg Config) *Handler {
	h := &Handler{cfg: cfg, start: time.Now()}
	h.accept = websocket.AcceptOptions{OriginPatterns: cfg.Origins, CompressionMode: websocket.CompressionDisabled}
	// A read ends when the socket is closed. A context that can be cancelled would cost the library a goroutine's worth
	// of bookkeeping for every frame header.
	h.ctx = context.Background() //nolint:forbidigo // see above
	h.buffers.New = func() any { return new(buffer) }
	return h
}

// Wait returns when there is no connection and no upgrade under way, and no goroutine of any is left. It does not close
// any: the hub does.
func (h *Handler) Wait() { h.places.wait() }

// Open returns how many connections and upgrades under way there are.
func (h *Handler) Open() int { return h.places.taken() }

// ServeHTTP upgrades a request, or says why not. It returns as soon as the connection is a session.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if as, why := h.refusal(r); why != nil {
		h.refuse(w, why, as)
		return
	}
	if !h.places.enter(h.cfg.MaxConnections) {
		h.refuse(w, errFull, refusedFull)
		return
	}
	if !h.upgrade(w, r) {
		h.places.leave()
	}
}

var (
	errFull = errors.New("this gateway has as many connections as it may")
	errHost = errors.New("the Host header names no host of this gateway")
)

// refusal looks at what can be decided before the upgrade.
func (h *Handler) refusal(r *http.Request) (as refusal, why error) {
	if err := h.cfg.Accepting(); err != nil {
		return refusedUnavailable, err
	}
	if !HostAllowed(h.cfg.Hosts, r.Host) {
		return refusedHost, errHost
	}
	return 0, nil
}

// retryAfter is when a client that found no room should come back: another gateway may have room at once.
const retryAfter = time.Second

// refuse answers a handshake that is refused.
func (h *Handler) refuse(w http.ResponseWriter, why error, as refusal) {
	h.cfg.Metrics.refused[as].Inc()
	p := problem.Problem{Status: http.StatusServiceUnavailable, Code: as.String(), Detail: why.Error(), RetryAfter: retryAfter}
	if as == refusedHost {
		p.Status, p.RetryAfter = http.StatusForbidden, 0
	}
	p.Write(w)
}

// HostAllowed tells whether a Host header is one of hosts, with or without its port. No hosts allow any.
func HostAllowed(hosts []string, host string) bool {
	if len(hosts) == 0 {
		return true
	}
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	name = strings.Trim(name, "[]")
	for _, allowed := range hosts {
		if strings.EqualFold(allowed, host) || strings.EqualFold(allowed, name) {
			return true
		}
	}
	return false
}

// upgrade makes the request a connection and starts its reader.
func (h *Handler) upgrade(w http.ResponseWriter, r *http.Request) bool {
	c := &Conn{h: h}
	opts := h.accept
	opts.OnPingReceived, opts.OnPongReceived = c.pinged, c.ponged
	ws, err := websocket.Accept(&hijacker{ResponseWriter: w, conn: c}, r, &opts)
	if err != nil {
		h.cfg.Metrics.refused[refusedHandshake].Inc()
		h.cfg.Log.Debug("handshake refused", zap.Error(err))
		return false
	}
	ws.SetReadLimit(-1)                        // the reader has a limit of its own, which names itself in the close frame
	if err := c.join(h.cfg.Join); err != nil { // the drain began meanwhile
		h.cfg.Metrics.refused[refusedUnavailable].Inc()
		_ = ws.CloseNow() // says nothing: the client comes back as from any lost connection
		return false
	}
	h.cfg.Metrics.accepted.Inc()
	go h.serve(c, ws)
	return true
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
