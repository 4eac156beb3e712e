// Package bots tells known bots from everybody else by their user agent.
//
// The list is crawler-user-agents 1.60.0 (https://github.com/monperrus/crawler-user-agents, MIT licence, kept beside
// it), byte for byte as the npm package has it. To take a newer one:
//
//	npm pack crawler-user-agents@VERSION && tar xzf crawler-user-agents-VERSION.tgz
//	cp package/crawler-user-agents.json package/LICENSE crawler-user-agents/
//
// name the version here and run the tests: every example of the list must be recognised, by this package and by the
// patterns as regular expressions alike.
//
// The list's 1,500 patterns are regular expressions, but nearly all of them are plain words. Run as one expression they
// cost over a millisecond for one user agent, which whoever sends it chooses: a load of its own. So the words are
// compiled into one automaton that reads each byte once (see automaton.go); a pattern that is no word is tried only
// where the word that it starts with was seen. What is left of the cost for a usual user agent is saved by a cache of
// verdicts of fixed size (see cache.go): no user agent makes it grow.
package bots

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"regexp"
	"sync/atomic"
)

//go:embed crawler-user-agents/crawler-user-agents.json
var list []byte

// Classifier tells known bots by their user agent. It is safe for concurrent use, its memory is fixed, and it never
// keeps a user agent.
type Classifier struct {
	words   *automaton
	partial []*regexp.Regexp // patterns whose words only hint at them; a word names them by index
	always  []*regexp.Regexp // patterns that no word hints at
	cache   *cache

	hits, misses atomic.Uint64
}

// New returns a classifier for the list that is built in.
func New() (*Classifier, error) {
	var entries []struct {
		Pattern string `json:"pattern"`
	}
	if err := json.Unmarshal(list, &entries); err != nil {
		return nil, fmt.Errorf("reading the list of bots: %w", err)
	}
	patterns := make([]string, len(entries))
	for i, e := range entries {
		patterns[i] = e.Pattern
	}
	return compile(patterns)
}

func compile(patterns []string) (*Classifier, error) {
	c := &Classifier{cache: newCache()}
	var words []word
	for _, pattern := range patterns {
		p, err := analyse(pattern)
		if err != nil {
			return nil, fmt.Errorf("compiling the list of bots: %w", err)
		}
		switch {
		case p.exact:
			words = append(words, p.words...)
		case len(p.words) > 0:
			for _, w := range p.words {
				w.verdict = verdict(len(c.partial))
				words = append(words, w)
			}
			c.partial = append(c.partial, p.expr)
		default:
			c.always = append(c.always, p.expr)
		}
	}
	if len(c.partial) > maxPartial {
		return nil, fmt.Errorf("compiling the list of bots: %d patterns that are no words, at most %d", len(c.partial), maxPartial)
	}
	var err error
	if c.words, err = newAutomaton(words); err != nil {
		return nil, fmt.Errorf("compiling the list of bots: %w", err)
	}
	return c, nil
}

// Bot tells whether the user agent is one of a known bot. The empty user agent is not. ua is only borrowed. The cost is
// linear in its length, whatever it holds.
func (c *Classifier) Bot(ua []byte) bool {
	if len(ua) == 0 {
		return false
	}
	h := c.cache.hash(ua)
	if bot, ok := c.cache.get(h); ok {
		c.hits.Add(1)
		return bot
	}
	c.misses.Add(1)
	bot := c.match(ua)
	c.cache.put(h, bot)
	return bot
}

func (c *Classifier) match(ua []byte) bool {
	seen := c.words.scan(ua)
	if seen&decided != 0 {
		return true
	}
	for i, expr := range c.partial {
		if seen&(1<<i) != 0 && expr.Match(ua) {
			return true
		}
	}
	for _, expr := range c.always {
		if expr.Match(ua) {
			return true
		}
	}
	return false
}

// Stats are the running totals of the cache of verdicts.
type Stats struct {
	Hits, Misses uint64
	// Entries is how many verdicts the cache has room for: it is of this size from the start.
	Entries int
}

// Stats returns the totals since New.
func (c *Classifier) Stats() Stats {
	return Stats{Hits: c.hits.Load(), Misses: c.misses.Load(), Entries: cacheSize}
}
