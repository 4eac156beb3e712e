package kafkalog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/segmentio/kafka-go/protocol"
)

// Requests of versions that the client library does not know: those that name a topic by its id (KIP-516). The library
// finds the broker and lends the connection; request and answer are written and read here.

// correlation is the number of every such request: a connection has one request under way at a time.
const correlation = 516

// appendHeader begins a request with header version 2; its length is put in by seal.
func appendHeader(dst []byte, key protocol.ApiKey, version int16, clientID string) []byte {
	be := binary.BigEndian
	dst = append(dst, 0, 0, 0, 0)
	dst = be.AppendUint16(dst, uint16(key))           //nolint:gosec // a constant
	dst = be.AppendUint16(dst, uint16(version))       //nolint:gosec // a constant
	dst = be.AppendUint32(dst, correlation)           // answered with the same
	dst = be.AppendUint16(dst, uint16(len(clientID))) //nolint:gosec // a name of some letters
	return append(append(dst, clientID...), 0)        // no tagged fields
}

// send completes a request and sends it.
func send(w io.Writer, request []byte) error {
	binary.BigEndian.PutUint32(request, uint32(len(request)-4)) //nolint:gosec // some hundred bytes
	_, err := w.Write(request)
	return err
}

// What is wrong with an answer that is not what the protocol says, or is not to what was asked.
var (
	errAnswer      = errors.New("the broker's answer cannot be read")
	errCorrelation = fmt.Errorf("%w: it is to another request", errAnswer)
)

// answer reads what a broker answers. The first error stays, and every value is zero behind it.
type answer struct {
	r   io.LimitedReader // the rest of the answer
	err error
	buf [16]byte
}

// receive begins an answer: its length and its header, of version 1.
func receive(r io.Reader) *answer {
	a := &answer{r: io.LimitedReader{R: r, N: 4}}
	a.r.N = max(int64(a.int32()), 0)
	if got := a.int32(); a.err == nil && got != correlation {
		a.err = fmt.Errorf("%w: %d instead of %d", errCorrelation, got, correlation)
	}
	a.tags()
	return a
}

// end reads what is left, so that the connection stands behind the answer, and returns the error.
func (a *answer) end() error {
	a.skip(a.r.N)
	return a.err
}

func (a *answer) read(n int) []byte {
	b := a.buf[:n]
	if a.err == nil {
		if _, err := io.ReadFull(&a.r, b); err != nil {
			a.err = fmt.Errorf("%w: %w", errAnswer, err)
		}
	}
	if a.err != nil {
		clear(b)
	}
	return b
}

// bytes reads n bytes into something of the pool. They are the caller's.
func (a *answer) bytes(n int64, pool *sync.Pool) *[]byte {
	into, ok := pool.Get().(*[]byte)
	if !ok {
		into = new([]byte)
	}
	*into = slices.Grow((*into)[:0], int(n))[:n]
	if a.err == nil {
		if _, err := io.ReadFull(&a.r, *into); err != nil {
			a.err = fmt.Errorf("%w: %w", errAnswer, err)
		}
	}
	return into
}

func (a *answer) skip(n int64) {
	if a.err != nil || n <= 0 {
		return
	}
	if _, err := io.CopyN(io.Discard, &a.r, n); err != nil {
		a.err = fmt.Errorf("%w: %w", errAnswer, err)
	}
}

//nolint:gosec // two's complement by definition
func (a *answer) int16() int16 { return int16(binary.BigEndian.Uint16(a.read(2))) }

//nolint:gosec // two's complement by definition
func (a *answer) int32() int32 { return int32(binary.BigEndian.Uint32(a.read(4))) }

//nolint:gosec // two's complement by definition
func (a *answer) int64() int64 { return int64(binary.BigEndian.Uint64(a.read(8))) }

func (a *answer) id() (id [16]byte) {
	copy(id[:], a.read(16))
	return id
}

// ReadByte makes an answer an [io.ByteReader] for varints.
func (a *answer) ReadByte() (byte, error) {
	b := a.read(1)[0]
	return b, a.err
}

func (a *answer) uvarint() uint64 {
	n, err := binary.ReadUvarint(a)
	if a.err == nil && err != nil {
		a.err = fmt.Errorf("%w: %w", errAnswer, err)
	}
	if a.err != nil {
		return 0
	}
	return n
}

// count reads the length of an array, or of bytes; 0 where there is none. No answer has more of anything than bytes.
func (a *answer) count() int64 {
	n := a.uvarint()
	if n == 0 {
		return 0
	}
	if n-1 > uint64(a.r.N) { //nolint:gosec // never negative
		a.err = fmt.Errorf("%w: it names more than it has", errAnswer)
		return 0
	}
	return int64(n - 1) //nolint:gosec // below a length that is one
}

// tags skips tagged fields: what newer brokers add, none of which is needed here.
func (a *answer) tags() {
	for range a.count0() {
		a.uvarint()
		a.skip(int64(a.uvarint())) //nolint:gosec // more than the answer has is an error
	}
}

// count0 is count where 0 stands for none and there is no null.
func (a *answer) count0() uint64 {
	n := a.uvarint()
	if n > uint64(a.r.N) { //nolint:gosec // never negative
		a.err = fmt.Errorf("%w: it names more than it has", errAnswer)
		return 0
	}
	return n
}
