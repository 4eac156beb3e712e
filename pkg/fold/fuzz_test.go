package fold

import (
	"testing"
	"time"
)

// FuzzFold folds a log that is made of the input, four bytes a record, and compares every verdict and the final ring
// with the rule.
func FuzzFold(f *testing.F) {
	f.Add([]byte{2, 10, 0, 0x11, 0, 0, 0, 0x11, 0, 0, 0, 0x11, 0, 0, 0, 0x11, 0, 0})
	f.Add([]byte{3, 1, 0, 0x11, 5, 0, 9, 0x21, 250, 1, 4, 0x11, 0, 0})
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) < 2 || len(in) > 2+4*200 {
			return
		}
		p := Params{Window: 1 + int64(in[0])%70, Within: time.Duration(1+int(in[1])) * time.Millisecond}
		warm := int(in[0]) / 70 // the first records only warm up
		var log []event
		offset, now := int64(0), int64(0)
		for in = in[2:]; len(in) >= 4; in = in[4:] {
			if hole := int64(in[0]); hole > 200 {
				offset += hole - 200
			}
			now += int64(int8(in[2]))
			log = append(log, event{
				offset: offset, time: now,
				link: string([]byte{'a' + in[1]>>4}), id: in[1] & 15,
				bot: in[3]&1 != 0, poison: in[3]&0x70 == 0x70,
			})
			offset++
		}
		fold := New(p)
		for i, e := range log {
			if i < warm {
				fold.Warm(e.record())
				continue
			}
			if got, want := fold.Add(e.record()), referenceVerdict(log, i, p); got != want {
				t.Fatalf("%+v: %v, the rule says %v", e, got, want)
			}
		}
		from := fold.Floor()
		wantList(t, "ring", walk(fold, from, offset), referenceCounted(log, from, offset, p))
	})
}
