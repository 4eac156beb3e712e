package api

import "time"

// parseTime reads a time as of RFC 3339 section 5.6 as Unix milliseconds. The shape is checked here because package time
// lets more pass than the RFC (an hour of one digit, a comma before the fraction, an offset of 99 hours); whether there
// is such a day is left to it. Leap seconds and lower-case letters are refused, as most programs do.
func parseTime(text []byte) (ms int64, ok bool) {
	const shape = "0000-00-00T00:00:00"
	if len(text) <= len(shape) || !shaped(text[:len(shape)], shape) {
		return 0, false
	}
	rest := text[len(shape):]
	if rest[0] == '.' {
		end := 1
		for end < len(rest) && isDigit(rest[end]) {
			end++
		}
		if end == 1 {
			return 0, false
		}
		rest = rest[end:]
	}
	if !shaped(rest, "Z") && !isOffset(rest) {
		return 0, false
	}
	var t time.Time
	if t.UnmarshalText(text) != nil {
		return 0, false
	}
	return t.UnixMilli(), true
}

func isOffset(b []byte) bool {
	return (shaped(b, "+00:00") || shaped(b, "-00:00")) && string(b[1:3]) <= "23" && string(b[4:6]) <= "59"
}

// shaped tells whether the text has the shape: a digit where that has a 0, else the same byte.
func shaped(text []byte, shape string) bool {
	if len(text) != len(shape) {
		return false
	}
	for i, b := range text {
		if shape[i] == '0' && !isDigit(b) || shape[i] != '0' && shape[i] != b {
			return false
		}
	}
	return true
}
