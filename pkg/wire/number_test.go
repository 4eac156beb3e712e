package wire

import (
	"math"
	"strconv"
	"testing"

	"pgregory.net/rapid"
)

func TestNumbersAtEveryLength(t *testing.T) {
	t.Parallel()
	same := func(v int64) {
		if got, want := string(appendNumber([]byte("x"), v)), "x"+strconv.FormatInt(v, 10); got != want {
			t.Errorf("wrote %s, want %s", got, want)
		}
	}
	for power := int64(1); ; power *= 10 {
		for _, v := range []int64{power - 1, power, power + 1, -power} {
			same(v)
		}
		if power > math.MaxInt64/10 {
			break
		}
	}
	same(math.MaxInt64)
	same(math.MinInt64)
	rapid.Check(t, func(t *rapid.T) {
		v := rapid.Int64().Draw(t, "number")
		if got, want := string(appendNumber(nil, v)), strconv.FormatInt(v, 10); got != want {
			t.Fatalf("wrote %s, want %s", got, want)
		}
	})
}
