package bots

import (
	"encoding/json"
	"regexp"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"
)

type entry struct {
	Pattern   string   `json:"pattern"`
	Instances []string `json:"instances"`
}

func entries(tb testing.TB) []entry {
	tb.Helper()
	var es []entry
	if err := json.Unmarshal(list, &es); err != nil {
		tb.Fatal(err)
	}
	return es
}

func newClassifier(tb testing.TB) *Classifier {
	tb.Helper()
	c, err := New()
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

// Every example of the list is recognised, the first time and from the cache.
func TestListedBots(t *testing.T) {
	t.Parallel()
	c := newClassifier(t)
	es := entries(t)
	if len(es) < 1500 {
		t.Fatalf("%d patterns: the list is not whole", len(es))
	}
	for _, e := range es {
		for _, ua := range e.Instances {
			for _, from := range []string{"the automaton", "the cache"} {
				if !c.Bot([]byte(ua)) {
					t.Errorf("%q not recognised by %s: %s", e.Pattern, from, ua)
				}
			}
		}
	}
}

// The automaton must stay worth its name: were the patterns to run as expressions, the cost would be back.
func TestAlmostAllPatternsAreWords(t *testing.T) {
	t.Parallel()
	c := newClassifier(t)
	if len(c.always) != 0 || len(c.partial) > 10 {
		t.Fatalf("%d patterns have no word to look for and %d are tried after one; want 0 and at most 10",
			len(c.always), len(c.partial))
	}
	if bytes := 2 * len(c.words.next); bytes > 4<<20 {
		t.Errorf("the automaton takes %d bytes", bytes)
	}
}

func TestBrowsersAreNoBots(t *testing.T) {
	t.Parallel()
	c := newClassifier(t)
	for _, ua := range []string{
		"",
		"x",
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36",
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36 Edg/141.0.0.0",
		"Mozilla/5.0 (X11; Linux x86_64; rv:144.0) Gecko/20100101 Firefox/144.0",
		"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.6 Safari/605.1.15",
		"Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.6 Mobile/15E148 Safari/604.1",
		"Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Mobile Safari/537.36",
		"Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) SamsungBrowser/28.0 Chrome/130.0.0.0 Mobile Safari/537.36",
	} {
		if c.Bot([]byte(ua)) {
			t.Errorf("taken for a bot: %s", ua)
		}
	}
}

// asExpression is what the list means: one of its patterns matches.
func asExpression(tb testing.TB, patterns []string) func(string) bool {
	tb.Helper()
	expr, err := regexp.Compile("(?:" + strings.Join(patterns, ")|(?:") + ")")
	if err != nil {
		tb.Fatal(err)
	}
	return expr.MatchString
}

// Texts made of pieces of the list's own examples are judged as the patterns judge them.
func TestAgreesWithThePatterns(t *testing.T) {
	t.Parallel()
	c := newClassifier(t)
	es := entries(t)
	patterns := make([]string, len(es))
	pieces := []string{" ", "/", "-", "^", "Mozilla/5.0 ", "AdsBot-Google", "AdsBot-Google-", "Spider", "spider.com", "RSS Reader", "Current", "\xff", "é"}
	for i, e := range es {
		patterns[i] = e.Pattern
		pieces = append(pieces, e.Instances...)
		pieces = append(pieces, strings.ReplaceAll(e.Pattern, `\`, ""))
	}
	want := asExpression(t, patterns)
	piece := rapid.Custom(func(t *rapid.T) string {
		s := rapid.SampledFrom(pieces).Draw(t, "of")
		from := rapid.IntRange(0, len(s)).Draw(t, "from")
		return s[from:rapid.IntRange(from, len(s)).Draw(t, "to")]
	})
	rapid.Check(t, func(t *rapid.T) {
		ua := strings.Join(rapid.SliceOfN(piece, 1, 4).Draw(t, "pieces"), "")
		if got := c.match([]byte(ua)); got != want(ua) && ua != "" {
			t.Fatalf("%q: automaton says %v, the patterns say %v", ua, got, want(ua))
		}
	})
}

func TestPatternForms(t *testing.T) {
	t.Parallel()
	patterns := []string{`abc`, `bcde`, `[wW]get`, `^start`, `end$`, `(^| )word\/`, `A(dog|cat)Z`, `hint[^-]`, `far[\s\S]*away`, `.x\d+y`, `(?i)shout`, `(?i)kel`}
	c, err := compile(patterns)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.partial) != 2 || len(c.always) != 2 { // `(?i)shout` has 48 spellings, ſhout among them
		t.Fatalf("%d partial and %d without a word, want 2 and 2", len(c.partial), len(c.always))
	}
	want := asExpression(t, patterns)
	for _, ua := range []string{
		"abc", "ab", "xabcx", "abcde", "xbcdex", "bcd", "wget", "Wget/1", "WGET", "start", "a start", "starts", "end", "ends", "the end",
		"word/", "a word/", "sword/", "AdogZ", "AcatZ", "AcowZ", "hint-", "hintx", "hint", "far and away", "away, far", "far", "ax1y", "x1y", "ax1", "ShOuT", "shou", "\u212aEL",
	} {
		if got := c.Bot([]byte(ua)); got != want(ua) {
			t.Errorf("%q: %v, the patterns say %v", ua, got, want(ua))
		}
	}
}

func TestCompileRefuses(t *testing.T) {
	t.Parallel()
	many := make([]string, maxPartial+1)
	for i := range many {
		many[i] = `x[^-]`
	}
	for name, patterns := range map[string][]string{
		"no expression":      {`(`},
		"matches everything": {``},
		"too many to hint":   many,
		"too many states":    {strings.Repeat("a", 65536/2), "b" + strings.Repeat("a", 65536/2)},
	} {
		if _, err := compile(patterns); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// A flood of user agents, each sent once, costs no memory, and what they evict is judged afresh.
func TestFloodLeavesNothingBehind(t *testing.T) {
	c := newClassifier(t)
	flood := make([]byte, 1024)
	n := 0
	if allocs := testing.AllocsPerRun(50_000, func() {
		n++
		for i, v := 0, n; i < 8; i, v = i+1, v>>4 {
			flood[i] = 'a' + byte(v&15)
		}
		if c.Bot(flood) {
			t.Fatal("taken for a bot")
		}
	}); allocs != 0 {
		t.Errorf("%v allocations for a new user agent, want 0", allocs)
	}
	if !c.Bot([]byte("curl/8.5.0")) || c.Bot(flood[:5]) {
		t.Error("wrong after the flood")
	}
	if s := c.Stats(); s.Misses < 50_000 || s.Entries != cacheSize {
		t.Errorf("stats after the flood: %+v", s)
	}
}

func TestStats(t *testing.T) {
	t.Parallel()
	c := newClassifier(t)
	for range 3 {
		c.Bot([]byte("curl/8.5.0"))
	}
	if s := c.Stats(); s.Hits != 2 || s.Misses != 1 {
		t.Fatalf("%+v, want 2 hits and 1 miss", s)
	}
}

func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	c := newClassifier(t)
	es := entries(t)[:200]
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for _, e := range es {
				for _, ua := range e.Instances {
					if !c.Bot([]byte(ua)) {
						t.Errorf("not recognised: %s", ua)
					}
				}
			}
		})
	}
	wg.Wait()
}

func FuzzBot(f *testing.F) {
	c := newClassifier(f)
	es := entries(f)
	patterns := make([]string, len(es))
	for i, e := range es {
		patterns[i] = e.Pattern
		if i%50 == 0 && len(e.Instances) > 0 {
			f.Add(e.Instances[0])
		}
	}
	want := asExpression(f, patterns)
	f.Fuzz(func(t *testing.T, ua string) {
		if got := c.match([]byte(ua)); got != want(ua) {
			t.Fatalf("%q: automaton says %v, the patterns say %v", ua, got, want(ua))
		}
	})
}

const chrome = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36"

func BenchmarkBot(b *testing.B) {
	// The worst that 1 KiB can do: every word that hints at an expression, so that all of them are tried.
	worst := []byte(strings.Repeat("AdsBot-Google-BlogTraffic/ContextualBotCurrentSpider", 20)[:1024])
	c := newClassifier(b)
	browser := []byte(chrome)
	b.Run("known", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			c.Bot(browser)
		}
	})
	b.Run("new", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			c.match(browser)
		}
	})
	b.Run("worst-1KiB", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			c.match(worst)
		}
	})
	b.Run("compile-list", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			newClassifier(b)
		}
	})
}
