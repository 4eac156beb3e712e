package kafkalog

import (
	"errors"
	"io"
	"sync/atomic"
)

// departure is whether a request has left. The client library may still hold one that was given up, waiting for a
// connection or a leader, and send it later: only who takes its bytes first decides what becomes of them. So it is known
// of each attempt whether a broker can have seen it.
type departure struct{ state atomic.Int32 }

const (
	departureOpen int32 = iota // nobody has read anything of the request
	departureMade              // it is being copied, or was
	departureOff               // nobody will read it
)

var errRevoked = errors.New("the request was given up before it was sent")

// make tells whether the request may be copied.
func (d *departure) make() bool {
	return d.state.CompareAndSwap(departureOpen, departureMade) || d.state.Load() == departureMade
}

// revoke takes the request back and tells whether nobody has it: then it was not sent and never will be.
func (d *departure) revoke() bool { return d.state.CompareAndSwap(departureOpen, departureOff) }

// body is one of the batches of a request.
type body struct {
	of    *departure
	bytes []byte
}

// WriteTo implements [io.WriterTo]: the library copies all bodies of a request, one after the other, when it has a
// connection to send it on. It sends nothing unless it has copied all.
func (b *body) WriteTo(w io.Writer) (int64, error) {
	if !b.of.make() {
		return 0, errRevoked
	}
	n, err := w.Write(b.bytes)
	return int64(n), err
}

// Read implements [io.Reader], which the library asks for and does not use.
func (b *body) Read([]byte) (int, error) { return 0, errRevoked }
