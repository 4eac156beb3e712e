package click

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/google/uuid"
	"google.golang.org/protobuf/encoding/protowire"
	"pgregory.net/rapid"
)

func TestCheckLink(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, link string
		want       *LinkError
	}{
		{"short", "a", nil},
		{"every kind of character", "acme:x7Kp2.A_b~c-9", nil},
		{"longest", strings.Repeat("x", MaxLinkLen), nil},
		{"empty", "", &LinkError{Pos: -1, Len: 0}},
		{"too long", strings.Repeat("x", MaxLinkLen+1), &LinkError{Pos: -1, Len: MaxLinkLen + 1}},
		{"slash", "a/b", &LinkError{Pos: 1, Len: 3}},
		{"newline", "ab\n", &LinkError{Pos: 2, Len: 3}},
		{"not ASCII", "é", &LinkError{Pos: 0, Len: 2}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			err := CheckLink(tc.link)
			if ValidLink(tc.link) != (err == nil) {
				t.Fatalf("ValidLink and CheckLink disagree on %q", tc.link)
			}
			var got *LinkError
			if errors.As(err, &got) != (tc.want != nil) || tc.want != nil && *got != *tc.want {
				t.Fatalf("CheckLink = %v, want %v", err, tc.want)
			}
			if err != nil && !strings.Contains(err.Error(), LinkRule) {
				t.Fatalf("the error does not state the rule: %v", err)
			}
		})
	}
}

// The vectors are those of Kafka's own UtilsTest.testMurmur2, and the keys' partitions follow from them.
func TestMurmur2JavaVectors(t *testing.T) {
	t.Parallel()
	for key, want := range map[string]int32{
		"21":                         -973932308,
		"foobar":                     -790332482,
		"a-little-bit-long-string":   -985981536,
		"a-little-bit-longer-string": -1486304829,
		"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
		"abc": 479470107,
	} {
		if got := int32(murmur2([]byte(key))); got != want {
			t.Errorf("murmur2(%q) = %d, want %d", key, got, want)
		}
		if got, want := Partition(key, 12), (want&0x7fffffff)%12; got != want {
			t.Errorf("Partition(%q, 12) = %d, want %d", key, got, want)
		}
	}
}

func TestParseID(t *testing.T) {
	t.Parallel()
	const text = "0198c0de-1234-7abc-8def-000102030405"
	id, err := ParseID(strings.ToUpper(text))
	if err != nil || id.String() != text {
		t.Fatalf("ParseID = %v, %v; want %s", id, err, text)
	}
	for _, bad := range []string{
		"", "urn:uuid:" + text, "{" + text + "}", strings.ReplaceAll(text, "-", ""),
		"00000000-0000-0000-0000-000000000000", text[:35] + "g",
	} {
		if _, err := ParseID(bad); !errors.Is(err, ErrID) {
			t.Errorf("ParseID(%q) = %v, want ErrID", bad, err)
		}
	}
	for i := range text { // every place counts: digits where digits are, hyphens where hyphens are
		for _, c := range []byte{'-', '7', 'g', ' ', 0, 0xc3} {
			changed := []byte(text)
			changed[i] = c
			got, err := ParseID(changed)
			want, errWant := uuid.Parse(string(changed))
			if (err == nil) != (errWant == nil) || err == nil && got != ID(want) {
				t.Errorf("ParseID(%q) = %v, %v, want %v, %v", changed, got, err, want, errWant)
			}
		}
	}
	a, errA := NewID()
	b, errB := NewID()
	if errA != nil || errB != nil || a == b || a.IsZero() {
		t.Fatalf("NewID: %v %v, %v %v", a, b, errA, errB)
	}
}

func genRecord(t *rapid.T) Record {
	r := Record{
		Bot:          rapid.Bool().Draw(t, "bot"),
		AtMs:         rapid.Int64().Draw(t, "at"),
		Country:      rapid.StringMatching(`([A-Z]{2})?`).Draw(t, "country"),
		ReferrerHost: rapid.StringMatching(`[a-z.]{0,40}`).Draw(t, "referrer"),
	}
	copy(r.ID[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "id"))
	return r
}

func TestRecordRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		want := genRecord(t)
		value := want.Append(nil)
		// A field of a later version in front, which readers must skip.
		value = append(protowire.AppendString(protowire.AppendTag(nil, 99, protowire.BytesType), "later"), value...)
		got, err := Decode([]byte("x7Kp2"), value)
		if err != nil || got != want {
			t.Fatalf("Decode = %+v, %v; want %+v", got, err, want)
		}
		id, bot, err := Scan([]byte("x7Kp2"), value)
		if err != nil || id != want.ID || bot != want.Bot {
			t.Fatalf("Scan = %v %v %v; want %v %v", id, bot, err, want.ID, want.Bot)
		}
	})
}

func TestScanPoison(t *testing.T) {
	t.Parallel()
	good := (&Record{ID: ID{1}, Bot: true}).Append(nil)
	version2 := protowire.AppendVarint(protowire.AppendTag(nil, fieldVersion, protowire.VarintType), 2)
	shortID := protowire.AppendBytes(protowire.AppendTag(bytes.Clone(good), fieldEventID, protowire.BytesType), []byte("short"))
	for _, tc := range []struct {
		name       string
		key, value []byte
		want       error
	}{
		{"no key", nil, good, ErrPoisonLink},
		{"key with a space", []byte("a b"), good, ErrPoisonLink},
		{"empty value", []byte("a"), nil, ErrPoisonVersion},
		{"later version", []byte("a"), version2, ErrPoisonVersion},
		{"JSON", []byte("a"), []byte(`{"link":"a"}`), ErrPoisonValue},
		{"cut short", []byte("a"), good[:len(good)-1], ErrPoisonValue},
		{"id of another length", []byte("a"), shortID, ErrPoisonValue},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if _, _, err := Scan(tc.key, tc.value); !errors.Is(err, tc.want) {
				t.Fatalf("Scan = %v, want %v", err, tc.want)
			}
			if _, err := Decode(tc.key, tc.value); !errors.Is(err, tc.want) {
				t.Fatalf("Decode = %v, want %v", err, tc.want)
			}
		})
	}
}

func FuzzScan(f *testing.F) {
	f.Add([]byte("x7Kp2"), (&Record{ID: ID{1}, Bot: true, AtMs: 5, Country: "DE", ReferrerHost: "example.com"}).Append(nil))
	f.Add([]byte(""), []byte{0x08})
	f.Fuzz(func(t *testing.T, key, value []byte) {
		id, bot, err := Scan(key, value)
		r, derr := Decode(key, value)
		if (err == nil) != (derr == nil) {
			t.Fatalf("Scan says %v, Decode says %v", err, derr)
		}
		if err == nil && (r.ID != id || r.Bot != bot) {
			t.Fatalf("Scan and Decode disagree: %v %v, %+v", id, bot, r)
		}
	})
}

func TestNoAllocations(t *testing.T) {
	key := []byte("x7Kp2")
	r := Record{ID: ID{1}, Bot: true, AtMs: 1, Country: "DE", ReferrerHost: "example.com"}
	value := r.Append(nil)
	buf := make([]byte, 0, 256)
	if n := testing.AllocsPerRun(100, func() {
		_, _, _ = Scan(key, value)
		buf = r.Append(buf[:0])
		_ = Partition(key, 12)
	}); n != 0 {
		t.Fatalf("%v allocations, want 0", n)
	}
}

func BenchmarkScan(b *testing.B) {
	key := []byte("x7Kp2")
	value := (&Record{ID: ID{1}, Bot: true, AtMs: 1763900000000, Country: "DE", ReferrerHost: "example.com"}).Append(nil)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := Scan(key, value); err != nil {
			b.Fatal(err)
		}
	}
}
