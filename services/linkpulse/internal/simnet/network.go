package simnet

import (
	"context"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"
)

const (
	// DefaultBuffer is how many bytes one way of a connection holds before its writer blocks, unless the dialling host
	// says otherwise. Both socket buffers of that way count as one.
	DefaultBuffer = 64 << 10
	// backlog is how many connections wait for Accept; a dial beyond that waits, as one whose SYN is dropped does.
	backlog = 128
	// firstPort is the first one that a listener on port 0 gets, so that runs of one seed use the same ports.
	firstPort = 20000
)

// Network is a network in memory. It is safe for concurrent use.
type Network struct {
	seed uint64

	mu        sync.Mutex // guards what follows; held briefly, never across a wait
	listeners map[string]*listener
	conns     map[*conn]struct{} // open connections; one entry for both ends
	faults    []*fault
	changed   chan struct{}  // closed and replaced whenever faults change
	dials     map[Path]int   // how many connections were made between two ends
	hosts     map[string]int // number of each host, for its address
	port      int            // the last one given to a listener on port 0
	serial    int            // of the last connection
}

// New returns a network without faults, whose chances follow from seed.
func New(seed uint64) *Network {
	return &Network{
		seed:      seed,
		listeners: make(map[string]*listener),
		conns:     make(map[*conn]struct{}),
		changed:   make(chan struct{}),
		dials:     make(map[Path]int),
		hosts:     make(map[string]int),
		port:      firstPort - 1,
	}
}

// Host is a view of the network under a name, by which faults find the connections that it dials or accepts. All hosts
// share one space of addresses, as processes of one machine do.
type Host struct {
	// Buffer is the size of each way of the connections that this host dials, in bytes; 0 is DefaultBuffer. Set it
	// before the first Dial.
	Buffer int

	net  *Network
	name string
	ip   net.IP
}

// Host returns the view under that name. Two views of one name are alike.
func (n *Network) Host(name string) *Host {
	n.mu.Lock()
	defer n.mu.Unlock()
	number, ok := n.hosts[name]
	if !ok {
		number = len(n.hosts) + 1
		n.hosts[name] = number
	}
	return &Host{net: n, name: name, ip: net.IPv4(10, 0, byte(number>>8), byte(number))} //nolint:gosec // two bytes of a small number
}

// Listen has the shape of [net.Listen]. The network is ignored; address is host:port, where the host may be an IP
// address or any name, and port 0 takes a free one.
func (h *Host) Listen(_, address string) (net.Listener, error) {
	n := h.net
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, opError("listen", nil, err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if port == "0" {
		for taken := true; taken; {
			n.port++
			port = strconv.Itoa(n.port)
			_, taken = n.listeners[key(host, port)]
		}
	}
	at := key(host, port)
	if _, taken := n.listeners[at]; taken {
		return nil, opError("listen", addr(at), syscall.EADDRINUSE)
	}
	l := &listener{
		net: n, at: at, host: h.name,
		queue: make(chan *end, backlog), closed: make(chan struct{}),
	}
	n.listeners[at] = l
	return l, nil
}

// Dial has the shape of [net.Dialer.DialContext], which http.Transport and kafka-go take.
func (h *Host) Dial(ctx context.Context, _, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, opError("dial", nil, err)
	}
	at := key(host, port)
	for {
		l, delay, wait, err := h.net.route(h.name, at)
		if err != nil {
			return nil, opError("dial", addr(at), err)
		}
		if wait == nil {
			if err := sleep(ctx, delay); err != nil {
				return nil, opError("dial", addr(at), err)
			}
			return h.connect(ctx, l)
		}
		select { // no answer until the network changes
		case <-wait:
		case <-ctx.Done():
			return nil, opError("dial", addr(at), ctx.Err())
		}
	}
}

// route looks up who listens at an address and what a handshake meets on the way there: a delay, or a black hole, which
// is a channel that is closed when it is worth another look.
func (n *Network) route(from, at string) (l *listener, delay time.Duration, hole <-chan struct{}, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	l = n.listeners[at]
	to := ""
	if l != nil {
		to = l.host
	}
	for _, f := range n.faults {
		if !f.Path.matches(from, to, at) {
			continue
		}
		if f.Refuse {
			return nil, 0, nil, syscall.ECONNREFUSED
		}
		if f.BlackHole != 0 {
			return nil, 0, n.changed, nil
		}
		delay += 2 * f.Delay // the handshake is one round trip
	}
	if l == nil {
		return nil, 0, nil, syscall.ECONNREFUSED
	}
	return l, delay, nil, nil
}

func (h *Host) connect(ctx context.Context, l *listener) (net.Conn, error) {
	n := h.net
	n.mu.Lock()
	pair := Path{From: h.name, To: l.at}
	number := n.dials[pair]
	n.dials[pair]++
	c := newConn(n, l, h, number)
	n.conns[c] = struct{}{}
	c.obey(n.faults)
	n.mu.Unlock()

	select {
	case <-l.closed: // both may be ready; a closed listener takes nothing more
	default:
		select {
		case l.queue <- &c.ends[ToDialer.index()]:
			return &c.ends[ToListener.index()], nil
		case <-l.closed:
		case <-ctx.Done():
			c.cut()
			return nil, opError("dial", addr(l.at), ctx.Err())
		}
	}
	c.cut()
	return nil, opError("dial", addr(l.at), syscall.ECONNREFUSED)
}

// chances returns the source of everything random about one way of a connection.
func (n *Network) chances(p Path, number int, w Way) *rand.Rand {
	hash := fnv.New64a()
	fmt.Fprintf(hash, "%s\x00%s\x00%d\x00%d", p.From, p.To, number, w)
	return rand.New(rand.NewPCG(n.seed, hash.Sum64())) //nolint:gosec // a simulation repeats its chances
}

// Open returns how many connections of a path are open at one end at least.
func (n *Network) Open(p Path) int { return len(n.open(p)) }

func (n *Network) open(p Path) []*conn {
	n.mu.Lock()
	defer n.mu.Unlock()
	var found []*conn
	for c := range n.conns {
		if p.matches(c.from, c.to, c.at) {
			found = append(found, c)
		}
	}
	slices.SortFunc(found, func(a, b *conn) int { return a.serial - b.serial })
	return found
}

func (n *Network) forget(c *conn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.conns, c)
}

func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// key is the form of an address under which listeners are found.
func key(host, port string) string {
	if host == "" || host == "localhost" || host == "0.0.0.0" {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}

// name is the address of a listener on a host that is no IP address.
type name string

func (name) Network() string  { return "tcp" }
func (n name) String() string { return string(n) }

func addr(at string) net.Addr {
	host, port, err := net.SplitHostPort(at)
	if err != nil {
		return name(at)
	}
	ip := net.ParseIP(host)
	number, err := strconv.Atoi(port)
	if ip == nil || err != nil {
		return name(at)
	}
	return &net.TCPAddr{IP: ip, Port: number}
}

func opError(op string, at net.Addr, err error) error {
	return &net.OpError{Op: op, Net: "tcp", Addr: at, Err: err}
}

// listener is a net.Listener.
type listener struct {
	net    *Network
	at     string
	host   string // name of the host that listens
	queue  chan *end
	once   sync.Once
	closed chan struct{}
}

// Accept waits for the next connection. After Close it reports net.ErrClosed.
func (l *listener) Accept() (net.Conn, error) {
	select {
	case <-l.closed:
	default:
		select {
		case e := <-l.queue:
			return e, nil
		case <-l.closed:
		}
	}
	return nil, opError("accept", addr(l.at), net.ErrClosed)
}

// Close frees the address and resets the connections that nobody accepted.
func (l *listener) Close() error {
	l.once.Do(func() {
		l.net.mu.Lock()
		delete(l.net.listeners, l.at)
		l.net.mu.Unlock()
		close(l.closed)
		for {
			select {
			case e := <-l.queue:
				e.conn.cut()
			default:
				return
			}
		}
	})
	return nil
}

// Addr returns the address with the port that was taken.
func (l *listener) Addr() net.Addr { return addr(l.at) }
