package kafkalog

import (
	"errors"
	"sync/atomic"
)

// departure is whether a request has left. The client library may still hold one that was given up, waiting for a
// connection or a leader, and send it later: only who takes its bytes first decides what becomes of them. So it is known
// of each attempt whether a broker can have seen it.
type departure struct{ state atomic.Int32 }

const (
	departureOpen int32 = iota // nobody has read anything of the request
	departureMade              // it is being sent, or was
	departureOff               // nobody will read it
)

var errRevoked = errors.New("the request was given up before it was sent")

// make tells whether the request may be sent.
func (d *departure) make() bool { return d.state.CompareAndSwap(departureOpen, departureMade) }

// revoke takes the request back and tells whether nobody has it: then it was not sent and never will be.
func (d *departure) revoke() bool { return d.state.CompareAndSwap(departureOpen, departureOff) }
