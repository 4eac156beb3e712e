package fold

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"
)

// The arena against a list of copies: whatever is put and dropped, what is still there reads as it was put.
func TestArenaKeepsWhatItHolds(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		a := arena{buf: make([]byte, 256)}
		const longest = 40
		type held struct {
			e    entry
			want []byte
		}
		var list []held
		used, fill := 0, byte(0)
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			if len(list) > 0 && rapid.Bool().Draw(t, "drop") {
				used -= len(list[0].want)
				a.drop(&list[0].e)
				list = list[1:]
			}
			fill++
			key := bytes.Repeat([]byte{fill}, rapid.IntRange(1, longest).Draw(t, "size"))
			at, ok := a.put(key)
			if !ok && used+2*longest <= len(a.buf) {
				t.Fatalf("%d of %d bytes are used, and %d have no room", used, len(a.buf), len(key))
			}
			if ok {
				list = append(list, held{entry{at: at, size: uint8(len(key))}, key})
				used += len(key)
			}
			for _, h := range list {
				if !bytes.Equal(a.bytes(&h.e), h.want) {
					t.Fatalf("read %v, put %v", a.bytes(&h.e), h.want)
				}
			}
		}
	})
}
