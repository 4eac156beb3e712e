package totals

import (
	"net"
	"sync"
)

// roomy is a connection that takes what is written without somebody to read it, as a socket does up to its buffer. A
// client that sends many commands before it reads the first answer would stand still on a bare net.Pipe.
type roomy struct {
	net.Conn
	out  chan []byte // bound: far more than one test sends at once; a full one makes writers wait
	once sync.Once
	gone chan struct{}
}

func newRoomy(c net.Conn) net.Conn {
	r := &roomy{Conn: c, out: make(chan []byte, 1024), gone: make(chan struct{})}
	go r.deliver()
	return r
}

func (r *roomy) deliver() {
	for {
		select {
		case b := <-r.out:
			if _, err := r.Conn.Write(b); err != nil {
				return // the reader of this connection hears of it
			}
		case <-r.gone:
			return
		}
	}
}

func (r *roomy) Write(b []byte) (int, error) {
	select {
	case <-r.gone: // a writer that is not told goes on
		return 0, net.ErrClosed
	default:
	}
	select {
	case r.out <- append([]byte(nil), b...):
		return len(b), nil
	case <-r.gone:
		return 0, net.ErrClosed
	}
}

func (r *roomy) Close() error {
	r.once.Do(func() { close(r.gone) })
	return r.Conn.Close()
}
