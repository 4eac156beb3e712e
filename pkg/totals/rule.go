package totals

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/linkpulse/linkpulse/pkg/fold"
)

// None is the offset of a partition that has no totals.
const None = -1

// Rule is how records were counted: the fold's parameters and its version.
type Rule struct {
	// Window is how many offsets back a record can be a duplicate of another, Within how far apart in record time.
	Window      int64
	Within      time.Duration
	FoldVersion int
}

// RuleOf returns the rule of a fold of this program.
func RuleOf(p fold.Params) Rule {
	return Rule{Window: p.Window, Within: p.Within, FoldVersion: fold.Version}
}

// String returns the rule as it is stored: window/within_ms/version.
func (r Rule) String() string {
	return fmt.Sprintf("%d/%d/%d", r.Window, r.Within.Milliseconds(), r.FoldVersion)
}

// Fingerprint identifies the record that was folded last, so that another log in the place of this one is noticed. The
// zero value is of no record.
type Fingerprint struct {
	Offset int64
	Sum    uint64
}

// FingerprintOf returns the fingerprint of a record: the first 8 bytes of SHA-256 over offset, time, and key and value
// with their lengths.
func FingerprintOf(r fold.Record) Fingerprint {
	h := sha256.New()
	var n [8]byte
	number := func(v int64) {
		binary.BigEndian.PutUint64(n[:], uint64(v)) //nolint:gosec // bits, not a number
		h.Write(n[:])
	}
	number(r.Offset)
	number(r.TimeMs)
	for _, b := range [][]byte{r.Key, r.Value} {
		number(int64(len(b)))
		h.Write(b)
	}
	var sum [sha256.Size]byte
	return Fingerprint{Offset: r.Offset, Sum: max(binary.BigEndian.Uint64(h.Sum(sum[:0])), 1)}
}

// IsZero tells whether it is of no record.
func (f Fingerprint) IsZero() bool { return f.Sum == 0 }

// String returns the fingerprint as it is stored, offset:hex; empty for the zero value.
func (f Fingerprint) String() string {
	if f.IsZero() {
		return ""
	}
	return fmt.Sprintf("%d:%016x", f.Offset, f.Sum)
}

// ParseFingerprint is the inverse of String.
func ParseFingerprint(s string) (Fingerprint, error) {
	if s == "" {
		return Fingerprint{}, nil
	}
	offset, sum, _ := strings.Cut(s, ":")
	o, err := strconv.ParseInt(offset, 10, 64)
	n, sumErr := strconv.ParseUint(sum, 16, 64)
	if err != nil || sumErr != nil || o < 0 || n == 0 {
		return Fingerprint{}, fmt.Errorf("%q is no fingerprint", s)
	}
	return Fingerprint{Offset: o, Sum: n}, nil
}
