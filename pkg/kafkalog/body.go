package kafkalog

import (
	"errors"
	"io"
	"sync/atomic"
)

// body is a batch on its way into a request. The client library may still hold a request that was given up, waiting for
// a connection or a leader, and send it later: only who takes the bytes first decides what becomes of them. So it is
// known of each attempt whether a broker can have seen it.
type body struct {
	state atomic.Int32
	bytes []byte
}

const (
	bodyWaits   int32 = iota // nobody has read it
	bodyTaken                // it is being copied, or was
	bodyRevoked              // nobody will read it
)

var errRevoked = errors.New("the request was given up before it was sent")

// WriteTo implements [io.WriterTo]: the library copies a body once, when it has a connection to send it on.
func (b *body) WriteTo(w io.Writer) (int64, error) {
	if !b.state.CompareAndSwap(bodyWaits, bodyTaken) {
		return 0, errRevoked
	}
	n, err := w.Write(b.bytes)
	return int64(n), err
}

// Read implements [io.Reader], which the library asks for and does not use.
func (b *body) Read([]byte) (int, error) { return 0, errRevoked }

// revoke takes the body back and tells whether nobody has it: then it was not sent and never will be.
func (b *body) revoke() bool { return b.state.CompareAndSwap(bodyWaits, bodyRevoked) }
