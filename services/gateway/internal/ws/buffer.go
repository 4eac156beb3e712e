package ws

import (
	"errors"
	"io"
)

// bufferStart is what most messages fit in. A client that begins a message and stalls holds at most twice what it sent.
const bufferStart = 512

// buffer holds a message while it is read.
type buffer struct{ bytes []byte }

var errTooBig = errors.New("the message is larger than allowed")

// fill reads r to its end. errTooBig means that it has more than most bytes: it is told as soon as there is one more, and
// more is never asked for, since the library waits for as many as it is asked for while the frame has them.
func (b *buffer) fill(r io.Reader, most int) error {
	b.bytes = b.bytes[:0]
	for {
		if len(b.bytes) > most {
			return errTooBig
		}
		if len(b.bytes) == cap(b.bytes) {
			b.bytes = append(make([]byte, 0, min(2*cap(b.bytes), most+1)), b.bytes...)
		}
		n, err := r.Read(b.bytes[len(b.bytes):min(cap(b.bytes), most+1)])
		b.bytes = b.bytes[:len(b.bytes)+n]
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// borrow takes a buffer from the pool.
func (h *Handler) borrow() *buffer {
	b, _ := h.buffers.Get().(*buffer)
	if b.bytes == nil {
		b.bytes = make([]byte, 0, bufferStart)
	}
	return b
}

// giveBack returns a buffer; one that grew is not kept at its size.
func (h *Handler) giveBack(b *buffer) {
	if cap(b.bytes) > 4*bufferStart {
		b.bytes = nil
	}
	h.buffers.Put(b)
}
