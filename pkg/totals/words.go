package totals

import "strconv"

// words are the words of a command, put together without an allocation for each. The zero value has none.
type words struct {
	text []byte
	ends []int // of each word in text
	list []string
}

// grow makes room for some words of some bytes together.
func (w *words) grow(words, bytes int) {
	w.text, w.ends, w.list = make([]byte, 0, bytes), make([]int, 0, words), make([]string, 0, words)
}

func (w *words) reset() { w.text, w.ends = w.text[:0], w.ends[:0] }

// add adds a word of two parts.
func (w *words) add(prefix, word string) {
	w.text = append(append(w.text, prefix...), word...)
	w.ends = append(w.ends, len(w.text))
}

func (w *words) addInt(prefix string, n int64) {
	w.text = strconv.AppendInt(append(w.text, prefix...), n, 10)
	w.ends = append(w.ends, len(w.text))
}

// strings returns the words. The list is used again by the next call, and what it points to is not: the client may hold
// on to the words of a command whose answer it has not waited for.
func (w *words) strings() []string {
	text := string(w.text)
	w.list = w.list[:0]
	begin := 0
	for _, end := range w.ends {
		w.list = append(w.list, text[begin:end])
		begin = end
	}
	return w.list
}

func decimal(n int64) string { return strconv.FormatInt(n, 10) }
