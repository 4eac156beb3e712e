package httpserver

import (
	"container/list"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Bounds are on the connections of a server that it has to itself: those that nobody has hijacked. They stop sockets that
// ask for nothing, or for little, from taking every descriptor and the memory behind it.
type Bounds struct {
	// Connections bounds those of the server; 0 is no limit.
	Connections int
	// PerAddress bounds those of an address that they come from, a /64 of IPv6 being one; 0 is no limit.
	PerAddress int
	// Proxies are networks whose addresses stand for many clients: PerAddress does not hold for them.
	Proxies []netip.Prefix
	// Registry takes the metrics.
	Registry prometheus.Registerer
}

// Bound returns a listener of connections within bounds, which srv and nobody else is to serve; it takes the server's
// ConnState. What comes when there is no room takes the place of the connection that has waited longest for its client to
// ask something: a client whose idle connection ends opens another, as after any idle timeout. Where none waits, what
// comes is closed. The connections are those of l, not wrapped, so that who hijacks one gets the socket. Requests that the
// server refused by itself, before any handler, are counted by reason.
func Bound(srv *http.Server, l net.Listener, bounds Bounds) (net.Listener, error) {
	b := &boundListener{Listener: l, bounds: bounds, conns: map[net.Conn]*list.Element{}, addresses: map[netip.Prefix]int{}}
	if err := b.register(); err != nil {
		return nil, err
	}
	srv.ConnState = b.changed
	b.watchRequests(srv)
	return b, nil
}

type boundListener struct {
	net.Listener
	bounds           Bounds
	refused, evicted [boundReasons]prometheus.Counter
	unread           [unreadReasons]prometheus.Counter
	patience         time.Duration // of the server, for the headers of a request

	mu        sync.Mutex // guards what follows
	order     list.List  // of *boundConn; who has been as it is for longest comes first
	conns     map[net.Conn]*list.Element
	addresses map[netip.Prefix]int // how many of conns
}

// boundConn is a connection that counts.
type boundConn struct {
	conn    net.Conn
	address netip.Prefix // the zero value: PerAddress does not hold
	waiting bool         // for the client
	unread  unreadState
}

// boundReason is which bound was reached.
type boundReason uint8

const (
	boundFull boundReason = iota
	boundAddress
	boundReasons
)

func (r boundReason) String() string { return [...]string{"full", "address"}[r] }

func (b *boundListener) register() error {
	const ns, sub = "linkpulse", "http"
	open := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: ns, Subsystem: sub, Name: "connections", Help: "Connections of the public port, without those that are WebSockets.",
	}, func() float64 {
		b.mu.Lock()
		defer b.mu.Unlock()
		return float64(len(b.conns))
	})
	if err := b.bounds.Registry.Register(open); err != nil {
		return err
	}
	for _, c := range []struct {
		to         *[boundReasons]prometheus.Counter
		name, help string
	}{
		{&b.refused, "connections_refused_total", "Connections that were closed as they came, by the bound that was reached."},
		{&b.evicted, "connections_evicted_total", "Connections without a request that made room for others, by the bound that was reached."},
	} {
		vec := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: ns, Subsystem: sub, Name: c.name, Help: c.help}, []string{"reason"})
		if err := b.bounds.Registry.Register(vec); err != nil {
			return err
		}
		for r := range boundReasons {
			c.to[r] = vec.WithLabelValues(r.String())
		}
	}
	return b.registerUnread()
}

// Accept implements [net.Listener].
func (b *boundListener) Accept() (net.Conn, error) {
	for {
		c, err := b.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if b.admit(c) {
			return c, nil
		}
		_ = c.Close() // nobody has it
	}
}

// admit counts a connection in, unless there is no room.
func (b *boundListener) admit(c net.Conn) bool {
	added := &boundConn{conn: c, address: b.addressOf(c), waiting: true, unread: unreadState{since: time.Now()}}
	b.mu.Lock()
	defer b.mu.Unlock()
	if limit := b.bounds.PerAddress; limit > 0 && added.address.IsValid() && b.addresses[added.address] >= limit &&
		!b.makeRoom(boundAddress, func(other *boundConn) bool { return other.address == added.address }) {
		return false
	}
	if limit := b.bounds.Connections; limit > 0 && len(b.conns) >= limit &&
		!b.makeRoom(boundFull, func(*boundConn) bool { return true }) {
		return false
	}
	b.conns[c] = b.order.PushBack(added)
	if added.address.IsValid() {
		b.addresses[added.address]++
	}
	return true
}

// makeRoom closes the one of those that has waited longest, and tells whether there was one. The caller holds mu.
func (b *boundListener) makeRoom(reason boundReason, of func(*boundConn) bool) bool {
	for e := b.order.Front(); e != nil; e = e.Next() {
		if c := e.Value.(*boundConn); c.waiting && of(c) { //nolint:forcetypeassert // there is nothing else in the list
			b.remove(c.conn)
			_ = c.conn.Close() // its reader finds out, and the server lets go of it
			b.evicted[reason].Inc()
			return true
		}
	}
	b.refused[reason].Inc()
	return false
}

// remove forgets a connection, if it is known. The caller holds mu.
func (b *boundListener) remove(c net.Conn) {
	e, ok := b.conns[c]
	if !ok {
		return
	}
	delete(b.conns, c)
	address := b.order.Remove(e).(*boundConn).address //nolint:forcetypeassert // there is nothing else in the list
	if !address.IsValid() {
		return
	}
	if b.addresses[address]--; b.addresses[address] == 0 {
		delete(b.addresses, address)
	}
}

// changed is the server's ConnState.
func (b *boundListener) changed(c net.Conn, state http.ConnState) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e, ok := b.conns[c]
	if !ok {
		return
	}
	known := e.Value.(*boundConn) //nolint:forcetypeassert // there is nothing else in the list
	b.noteUnread(known, state)
	if state == http.StateHijacked || state == http.StateClosed {
		b.remove(c)
		return
	}
	known.waiting = state != http.StateActive
	b.order.MoveToBack(e)
}

// addressOf returns what a connection is counted for, the zero value if for nothing: an IPv4 address, or the /64 of an IPv6
// address, which is what one customer has.
func (b *boundListener) addressOf(c net.Conn) netip.Prefix {
	peer, err := netip.ParseAddrPort(c.RemoteAddr().String())
	if err != nil {
		return netip.Prefix{} // no network that there are addresses in
	}
	const customer = 64
	address := peer.Addr().Unmap().WithZone("")
	for _, network := range b.bounds.Proxies {
		if network.Contains(address) {
			return netip.Prefix{}
		}
	}
	return netip.PrefixFrom(address, min(customer, address.BitLen())).Masked()
}
