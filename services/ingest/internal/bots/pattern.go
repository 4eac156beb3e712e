package bots

import (
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"
	"unicode"
)

// Symbols of the automaton beyond the 256 bytes: a user agent is read as start, its bytes, end. An anchored pattern is
// then a word like any other.
const (
	symbolStart = 256
	symbolEnd   = 257
	symbols     = 258
)

// verdict says what seeing a word means: isBot, or the index of a pattern to try.
type verdict int

const isBot verdict = -1

// word is a sequence of symbols.
type word struct {
	symbols []uint16
	verdict verdict
}

// pattern is what analyse makes of a regular expression.
type pattern struct {
	// words, one of which is in every text that matches; none where there is no such set.
	words []word
	// exact: any text with one of the words matches.
	exact bool
	// expr is the expression itself, nil where the words say it all.
	expr *regexp.Regexp
}

// maxWords bounds the words of one pattern: `[wW]get` is two, a class like `[^-]` is not enumerated.
const maxWords = 32

// analyse finds the words of a pattern.
func analyse(text string) (pattern, error) {
	tree, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		return pattern{}, fmt.Errorf("pattern %q: %w", text, err)
	}
	var p pattern
	seqs, exact := enumerate(tree)
	if p.exact = exact; !exact {
		if p.expr, err = regexp.Compile(text); err != nil {
			return pattern{}, fmt.Errorf("pattern %q: %w", text, err)
		}
		if tree.Op == syntax.OpConcat {
			// Whatever matches the whole has what matches its beginning.
			seqs, _ = enumerate(tree.Sub[0])
		}
	}
	for _, s := range seqs {
		if len(s) == 0 {
			return pattern{}, fmt.Errorf("pattern %q matches everything", text)
		}
		p.words = append(p.words, word{symbols: s, verdict: isBot})
	}
	return p, nil
}

// enumerate lists every sequence of symbols that the expression matches, if they are few.
func enumerate(re *syntax.Regexp) (seqs [][]uint16, ok bool) {
	switch re.Op {
	case syntax.OpEmptyMatch:
		return [][]uint16{{}}, true
	case syntax.OpBeginText:
		return [][]uint16{{symbolStart}}, true
	case syntax.OpEndText:
		return [][]uint16{{symbolEnd}}, true
	case syntax.OpLiteral:
		if re.Flags&syntax.FoldCase == 0 {
			return [][]uint16{bytesOf(re.Rune...)}, true
		}
		return enumerateFold(re.Rune) // also what the parser makes of `[wW]`
	case syntax.OpCharClass:
		for i := 0; i < len(re.Rune); i += 2 {
			for r := re.Rune[i]; r <= re.Rune[i+1]; r++ {
				if seqs = append(seqs, bytesOf(r)); len(seqs) > maxWords {
					return nil, false
				}
			}
		}
		return seqs, true
	case syntax.OpCapture:
		return enumerate(re.Sub[0])
	case syntax.OpAlternate:
		for _, sub := range re.Sub {
			s, ok := enumerate(sub)
			if !ok || len(seqs)+len(s) > maxWords {
				return nil, false
			}
			seqs = append(seqs, s...)
		}
		return seqs, true
	case syntax.OpConcat:
		return enumerateConcat(re.Sub)
	default:
		return nil, false
	}
}

func enumerateConcat(subs []*syntax.Regexp) (seqs [][]uint16, ok bool) {
	seqs = [][]uint16{{}}
	for _, sub := range subs {
		tails, ok := enumerate(sub)
		if !ok || len(seqs)*len(tails) > maxWords {
			return nil, false
		}
		var next [][]uint16
		for _, head := range seqs {
			for _, tail := range tails {
				next = append(next, slices.Concat(head, tail))
			}
		}
		seqs = next
	}
	return seqs, true
}

// enumerateFold lists the spellings of a literal that is matched in any case.
func enumerateFold(runes []rune) (seqs [][]uint16, ok bool) {
	seqs = [][]uint16{{}}
	for _, first := range runes {
		var next [][]uint16
		for r := first; ; {
			for _, head := range seqs {
				next = append(next, slices.Concat(head, bytesOf(r)))
			}
			if r = unicode.SimpleFold(r); r == first {
				break
			}
		}
		if seqs = next; len(seqs) > maxWords {
			return nil, false
		}
	}
	return seqs, true
}

// bytesOf returns the UTF-8 of the runes as symbols.
func bytesOf(runes ...rune) []uint16 {
	s := []uint16{}
	for _, b := range []byte(string(runes)) {
		s = append(s, uint16(b))
	}
	return s
}
