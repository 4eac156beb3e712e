package bots

import (
	"fmt"
	"math"
)

// automaton finds words in a text and reads each of its bytes once (Aho and Corasick, "Efficient string matching",
// CACM 18(6), 1975), as a complete transition table: one load per byte, no failure links to follow at run time. The
// table is small because symbols that stand in no word share a column and because a state is 16 bits.
type automaton struct {
	column [symbols]uint8 // of a symbol
	width  int            // columns of a row
	next   []uint16       // next[state*width+column]; state 0 has seen no beginning of a word
	seen   []findings
}

// findings are what was seen on arriving at a state: a word that decides, and a bit for each pattern worth trying.
type findings uint64

const (
	decided findings = 1 << 63
	// maxPartial is how many patterns have a bit.
	maxPartial = 63
)

// maxStates keeps a state in 16 bits.
const maxStates = math.MaxUint16

func newAutomaton(words []word) (*automaton, error) {
	a := &automaton{width: 1} // column 0: symbols of no word
	for _, w := range words {
		for _, s := range w.symbols {
			if a.column[s] == 0 {
				if a.width > math.MaxUint8 {
					return nil, fmt.Errorf("words of more than %d symbols", math.MaxUint8)
				}
				a.column[s] = uint8(a.width) //nolint:gosec // checked above
				a.width++
			}
		}
	}
	a.addState()
	for _, w := range words {
		if err := a.add(w); err != nil {
			return nil, err
		}
	}
	a.complete()
	return a, nil
}

func (a *automaton) addState() {
	a.next = append(a.next, make([]uint16, a.width)...)
	a.seen = append(a.seen, 0)
}

// add enters a word in the trie.
func (a *automaton) add(w word) error {
	state := 0
	for _, s := range w.symbols {
		edge := state*a.width + int(a.column[s])
		if a.next[edge] == 0 {
			if len(a.seen) > maxStates {
				return fmt.Errorf("words of more than %d states", maxStates)
			}
			a.next[edge] = uint16(len(a.seen)) //nolint:gosec // checked above
			a.addState()
		}
		state = int(a.next[edge])
	}
	if w.verdict == isBot {
		a.seen[state] |= decided
	} else {
		a.seen[state] |= 1 << w.verdict
	}
	return nil
}

// complete turns the trie into the automaton: breadth first, an edge that a state lacks leads where it leads from the
// longest proper suffix of what the state has read, and a state has seen what that suffix has seen.
func (a *automaton) complete() {
	suffix := make([]uint16, len(a.seen))
	var queue []uint16
	for _, child := range a.next[:a.width] {
		if child != 0 {
			queue = append(queue, child)
		}
	}
	for ; len(queue) > 0; queue = queue[1:] {
		state := queue[0]
		fallback := suffix[state]
		a.seen[state] |= a.seen[fallback]
		for c := range a.width {
			edge, other := int(state)*a.width+c, a.next[int(fallback)*a.width+c]
			if child := a.next[edge]; child != 0 {
				suffix[child] = other
				queue = append(queue, child)
			} else {
				a.next[edge] = other
			}
		}
	}
}

// scan reads a text to its end or to the first word that decides.
func (a *automaton) scan(text []byte) findings {
	state := a.next[a.column[symbolStart]]
	all := a.seen[state]
	for _, b := range text {
		state = a.next[int(state)*a.width+int(a.column[b])]
		if seen := a.seen[state]; seen != 0 {
			if all |= seen; seen&decided != 0 {
				return all
			}
		}
	}
	state = a.next[int(state)*a.width+int(a.column[symbolEnd])]
	return all | a.seen[state]
}
