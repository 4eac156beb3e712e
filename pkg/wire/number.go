package wire

import "strconv"

// pairs holds the two digits of every number below 100.
const pairs = "00010203040506070809" +
	"10111213141516171819" +
	"20212223242526272829" +
	"30313233343536373839" +
	"40414243444546474849" +
	"50515253545556575859" +
	"60616263646566676869" +
	"70717273747576777879" +
	"80818283848586878889" +
	"90919293949596979899"

// digits returns how many digits v has in decimal.
func digits(v uint64) int {
	for n := 1; ; n += 4 {
		switch {
		case v < 10:
			return n
		case v < 100:
			return n + 1
		case v < 1000:
			return n + 2
		case v < 10000:
			return n + 3
		}
		v /= 10000
	}
}

// appendNumber is strconv.AppendInt for the numbers of the protocol: it writes the digits where they belong instead of
// copying them there, which makes an update a third cheaper. A negative number is rare and left to strconv.
func appendNumber(dst []byte, v int64) []byte {
	if v < 0 {
		return strconv.AppendInt(dst, v, 10)
	}
	u := uint64(v)
	n := digits(u)
	dst = append(dst, pairs[:n]...) // room
	end := dst[len(dst)-n:]
	for n >= 2 {
		q := u / 100
		i := (u - q*100) * 2
		end[n-1], end[n-2] = pairs[i+1], pairs[i]
		u, n = q, n-2
	}
	if n == 1 {
		end[0] = '0' + byte(u) //nolint:gosec // one digit
	}
	return dst
}
