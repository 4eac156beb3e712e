package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkpulse/linkpulse/pkg/click"
)

// request is one that the Sender made.
type request struct {
	at    time.Duration // since the test began
	links []string
	ids   []string
}

// ingest is the other end of a Sender: answer decides what each request meets.
type ingest struct {
	t      *testing.T
	began  time.Time
	answer func(n int, r request) (*http.Response, error) // n counts from 0

	mu       sync.Mutex
	requests []request
}

func (g *ingest) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.String() != "http://ingest/v1/clicks" || req.Header.Get("Content-Type") != "application/x-ndjson" {
		g.t.Errorf("request to %s of %s", req.URL, req.Header.Get("Content-Type"))
	}
	body, err := io.ReadAll(req.Body)
	if err != nil || len(body) > maxBody {
		g.t.Errorf("body of %d bytes: %v", len(body), err)
	}
	r := request{at: time.Since(g.began)}
	for line := range bytes.Lines(body) {
		var c struct{ Link, ID string }
		if err := json.Unmarshal(line, &c); err != nil {
			g.t.Errorf("line %s: %v", line, err)
		}
		r.links, r.ids = append(r.links, c.Link), append(r.ids, c.ID)
	}
	g.mu.Lock()
	n := len(g.requests)
	g.requests = append(g.requests, r)
	g.mu.Unlock()
	if g.answer == nil {
		return accepted(), nil
	}
	resp, err := g.answer(n, r)
	if resp == nil && err == nil { // a black hole
		<-req.Context().Done()
		return nil, req.Context().Err()
	}
	return resp, err
}

// seen returns the requests so far.
func (g *ingest) seen() []request {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.requests)
}

func response(status int, body string, header ...string) *http.Response {
	h := http.Header{}
	for i := 0; i+1 < len(header); i += 2 {
		h.Set(header[i], header[i+1])
	}
	return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(strings.NewReader(body))}
}

func accepted() *http.Response { return response(http.StatusAccepted, `{"accepted":1,"ids":[]}`) }

// refusal is a problem document of ingest.
func refusal(status int, code, more string, header ...string) *http.Response {
	return response(status, `{"type":"urn:linkpulse:problem:`+code+`","status":`+strconv.Itoa(status)+`,"code":"`+code+`"`+more+`}`, header...)
}

func sender(t *testing.T, opts SenderOptions, answer func(int, request) (*http.Response, error)) (*Sender, *ingest) {
	t.Helper()
	g := &ingest{t: t, began: time.Now(), answer: answer}
	opts.Transport = g
	s, err := NewSender("http://ingest", opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
		cancel()
		_ = s.Close(ctx)
	})
	return s, g
}

// trial is a test in its bubble.
type trial struct {
	*testing.T

	sender *Sender
	ingest *ingest
}

// bubble runs f in virtual time and checks in the end that no click is unaccounted for.
func bubble(t *testing.T, opts SenderOptions, answer func(int, request) (*http.Response, error), f func(trial)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		told := map[DropReason]int64{}
		opts.OnDrop = func(_ Click, reason DropReason, _ error) {
			mu.Lock()
			defer mu.Unlock()
			told[reason]++
		}
		s, g := sender(t, opts, answer)
		f(trial{t, s, g})
		synctest.Wait()
		st := s.Stats()
		sum := st.Delivered + st.Pending
		for reason, n := range st.Dropped {
			sum += n
			if told[reason] != n {
				t.Errorf("OnDrop was told of %d of the %d that were dropped for %s", told[reason], n, reason)
			}
		}
		if sum != st.Clicks {
			t.Errorf("%d clicks, %d accounted for: %+v", st.Clicks, sum, st)
		}
	})
}

func send(t *testing.T, s *Sender, links ...string) {
	t.Helper()
	for _, link := range links {
		if !s.Send(Click{Link: link}) {
			t.Fatalf("%s was not taken", link)
		}
	}
}

func closeSender(t *testing.T, s *Sender) {
	t.Helper()
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func numbered(n int) []string {
	links := make([]string, n)
	for i := range links {
		links[i] = fmt.Sprintf("l%04d", i)
	}
	return links
}

func TestSenderGathersWhatComesWhileARequestIsOut(t *testing.T) {
	t.Parallel()
	slow := func(int, request) (*http.Response, error) { time.Sleep(100 * time.Millisecond); return accepted(), nil }
	bubble(t, SenderOptions{MaxBatch: 500}, slow, func(t trial) {
		s, g := t.sender, t.ingest
		send(t.T, s, "first")
		synctest.Wait() // it is out
		links := numbered(700)
		send(t.T, s, links...)
		closeSender(t.T, s)
		got := g.seen()
		if len(got) != 3 || len(got[0].links) != 1 || len(got[1].links) != 500 || len(got[2].links) != 200 {
			t.Fatalf("requests %v", got)
		}
		if all := slices.Concat(got[1].links, got[2].links); !slices.Equal(all, links) {
			t.Fatal("the clicks are not those that were sent")
		}
		if got[0].at != 0 || got[1].at != 100*time.Millisecond || got[2].at != 200*time.Millisecond {
			t.Fatalf("requests at %v, %v, %v", got[0].at, got[1].at, got[2].at)
		}
	})
}

func TestSenderRetriesWithTheSameIDs(t *testing.T) {
	t.Parallel()
	lost := func(n int, _ request) (*http.Response, error) {
		if n < 3 {
			return nil, errors.New("connection reset")
		}
		return accepted(), nil
	}
	bubble(t, SenderOptions{}, lost, func(t trial) {
		s, g := t.sender, t.ingest
		send(t.T, s, "a")
		closeSender(t.T, s)
		got := g.seen()
		if len(got) != 4 || got[0].ids[0] != got[3].ids[0] {
			t.Fatalf("requests %v", got)
		}
		if id, err := click.ParseID(got[0].ids[0]); err != nil || id[6]>>4 != 7 {
			t.Fatalf("id %s: %v", got[0].ids[0], err)
		}
		for i, most := range []time.Duration{100 * time.Millisecond, 200 * time.Millisecond, 400 * time.Millisecond} {
			if wait := got[i+1].at - got[i].at; wait > most {
				t.Fatalf("wait %d was %v, at most %v", i, wait, most)
			}
		}
		if st := s.Stats(); st.Delivered != 1 || st.Retried != 3 || st.Failed != 3 || st.LastError != nil {
			t.Fatalf("stats %+v", st)
		}
	})
}

// Where nothing can have reached the log, a click is not given up: only the queue bounds how many wait.
func TestSenderOutlastsAnOutage(t *testing.T) {
	t.Parallel()
	for name, down := range map[string]func() (*http.Response, error){
		"refused": func() (*http.Response, error) {
			return nil, &net.OpError{Op: "dial", Err: errors.New("connection refused")}
		},
		"unready":  func() (*http.Response, error) { return refusal(503, "not_ready", ""), nil },
		"limited":  func() (*http.Response, error) { return refusal(429, "rate_limited", ""), nil },
		"redirect": func() (*http.Response, error) { return response(302, "", "Location", "http://elsewhere/"), nil },
		"misroute": func() (*http.Response, error) { return response(404, "no such page"), nil },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var up time.Time
			answer := func(int, request) (*http.Response, error) {
				if time.Now().Before(up) {
					return down()
				}
				return accepted(), nil
			}
			bubble(t, SenderOptions{Queue: 100, MaxBatch: 10}, answer, func(t trial) {
				s, g := t.sender, t.ingest
				up = time.Now().Add(10 * time.Minute)
				send(t.T, s, numbered(100)...)
				synctest.Wait()
				if s.Send(Click{Link: "one-more"}) {
					t.Fatal("the queue has no bound")
				}
				time.Sleep(5 * time.Minute)
				if n := len(g.seen()); n > 200 {
					t.Fatalf("%d attempts in five minutes", n)
				}
				closeSender(t.T, s)
				if st := s.Stats(); st.Delivered != 100 || st.Dropped[DropQueueFull] != 1 {
					t.Fatalf("stats %+v", st)
				}
			})
		})
	}
}

// An attempt without an answer may have put the click into the log: after the horizon another one could count it twice.
func TestSenderGivesUpWhatIsInDoubt(t *testing.T) {
	t.Parallel()
	for name, hole := range map[string]func(int, request) (*http.Response, error){
		"black hole":  func(int, request) (*http.Response, error) { return nil, nil },
		"reset":       func(int, request) (*http.Response, error) { return nil, errors.New("connection reset") },
		"bad gateway": func(int, request) (*http.Response, error) { return response(502, "<html>"), nil },
		"defect":      func(int, request) (*http.Response, error) { return refusal(500, "internal", ""), nil },
		"no promise":  func(int, request) (*http.Response, error) { return response(200, "ok"), nil },
		"results": func(int, request) (*http.Response, error) {
			return refusal(503, "outcome_unknown", `,"results":[{"index":0,"status":"unknown"}]`), nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, SenderOptions{}, hole, func(t trial) {
				s, g := t.sender, t.ingest
				send(t.T, s, "a")
				time.Sleep(time.Minute)
				synctest.Wait()
				got := g.seen()
				if st := s.Stats(); st.Dropped[DropUnknown] != 1 || st.Pending != 0 || st.LastError == nil {
					t.Fatalf("stats %+v", st)
				}
				if last := got[len(got)-1].at; len(got) < 3 || last >= RetryHorizon {
					t.Fatalf("%d attempts, the last after %v", len(got), last)
				}
			})
		})
	}
}

func TestSenderRetriesOnlyWhatFailed(t *testing.T) {
	t.Parallel()
	partly := func(n int, _ request) (*http.Response, error) {
		time.Sleep(10 * time.Millisecond)
		if n != 1 {
			return accepted(), nil
		}
		return refusal(503, "unavailable", `,"results":[{"index":0,"id":"x","status":"accepted"},
			{"index":1,"id":"x","status":"failed","code":"queue_full"},{"index":2,"id":"x","status":"unknown","code":"outcome_unknown"}]`,
			"Retry-After", "2"), nil
	}
	bubble(t, SenderOptions{}, partly, func(t trial) {
		s, g := t.sender, t.ingest
		send(t.T, s, "first")
		synctest.Wait() // it is out, and the next three make up one request
		send(t.T, s, "a", "b", "c")
		time.Sleep(15 * time.Millisecond)
		send(t.T, s, "fresh")
		closeSender(t.T, s)
		got := g.seen()
		if len(got) != 4 || len(got[1].links) != 3 || !slices.Equal(got[2].links, []string{"fresh"}) || !slices.Equal(got[3].ids, got[1].ids[1:]) {
			t.Fatalf("requests %v", got)
		}
		// Other partitions work: their clicks do not wait for the one that fails.
		if got[2].at != 20*time.Millisecond || got[3].at-got[2].at < 2*time.Second {
			t.Fatalf("requests at %v and %v", got[2].at, got[3].at)
		}
	})
}

func TestSenderDropsWhatIsRefused(t *testing.T) {
	t.Parallel()
	// Ingest names the first click that breaks a rule, until none is left.
	picky := func(_ int, r request) (*http.Response, error) {
		for i, link := range r.links {
			if strings.HasPrefix(link, "bad") {
				return refusal(422, "invalid_click", `,"rule":"country","index":`+strconv.Itoa(i)), nil
			}
		}
		return accepted(), nil
	}
	bubble(t, SenderOptions{}, picky, func(t trial) {
		s, g := t.sender, t.ingest
		send(t.T, s, "a", "bad1", "b", "bad2", "c")
		closeSender(t.T, s)
		st := s.Stats()
		if st.Delivered != 3 || st.Dropped[DropRefused] != 2 {
			t.Fatalf("stats %+v", st)
		}
		if got := g.seen(); got[len(got)-1].at != 0 {
			t.Fatalf("the good ones waited: %v", got)
		}
	})
}

func TestSenderSplitsWhatIsTooMuch(t *testing.T) {
	t.Parallel()
	// Something in front of ingest takes 100 clicks at most, and one click never.
	narrow := func(_ int, r request) (*http.Response, error) {
		if len(r.links) > 100 || slices.Contains(r.links, "huge") {
			return response(413, "too large"), nil
		}
		return accepted(), nil
	}
	bubble(t, SenderOptions{MaxBatch: 1000}, narrow, func(t trial) {
		s := t.sender
		send(t.T, s, append(numbered(800), "huge")...)
		closeSender(t.T, s)
		if st := s.Stats(); st.Delivered != 800 || st.Dropped[DropRefused] != 1 || st.Requests > 100 {
			t.Fatalf("stats %+v", st)
		}
	})
}

func TestSenderHonoursRetryAfter(t *testing.T) {
	t.Parallel()
	for header, wait := range map[string]time.Duration{"3": 3 * time.Second, "86400": maxRetryAfter, "soon": 0, "-5": 0} {
		t.Run(header, func(t *testing.T) {
			t.Parallel()
			full := func(n int, _ request) (*http.Response, error) {
				if n == 0 {
					return refusal(503, "queue_full", "", "Retry-After", header), nil
				}
				return accepted(), nil
			}
			bubble(t, SenderOptions{}, full, func(t trial) {
				s, g := t.sender, t.ingest
				send(t.T, s, "a")
				synctest.Wait()
				send(t.T, s, "b")
				closeSender(t.T, s)
				got := g.seen()
				if len(got) != 2 || len(got[1].links) != 2 || got[1].at < wait || got[1].at > wait+postBackoff {
					t.Fatalf("requests %v", got)
				}
			})
		})
	}
}

// A redirect never waits: virtual time does not move while a test runs, so a Send that waited would hang this one.
func TestSendNeverWaits(t *testing.T) {
	t.Parallel()
	hole := func(int, request) (*http.Response, error) { return nil, nil }
	bubble(t, SenderOptions{Queue: 100}, hole, func(t trial) {
		s := t.sender
		begun := time.Now()
		taken := 0
		for _, link := range numbered(1000) {
			if s.Send(Click{Link: link}) {
				taken++
			}
		}
		st := s.Stats()
		if taken != 100 || st.Dropped[DropQueueFull] != 900 || st.Pending != 100 || time.Since(begun) != 0 {
			t.Fatalf("%d taken, %+v", taken, st)
		}
		if s.Send(Click{Link: "not a link"}) || s.Stats().Dropped[DropInvalid] != 1 {
			t.Fatal("a bad link was taken")
		}
		want := slices.Sorted(slices.Values(DropReasons()))
		if got := slices.Sorted(maps.Keys(st.Dropped)); !slices.Equal(got, want) {
			t.Fatalf("reasons %v", got)
		}
	})
}

func TestSenderCloseIsBounded(t *testing.T) {
	t.Parallel()
	hole := func(int, request) (*http.Response, error) { return nil, nil }
	bubble(t, SenderOptions{MaxBatch: 1}, hole, func(t trial) {
		s := t.sender
		send(t.T, s, "a", "b", "c")
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		begun := time.Now()
		if err := s.Close(ctx); !errors.Is(err, ErrNotDelivered) || !strings.Contains(err.Error(), "3 left") {
			t.Fatalf("Close = %v", err)
		}
		if took := time.Since(begun); took != 3*time.Second {
			t.Fatalf("Close took %v", took)
		}
		if st := s.Stats(); st.Dropped[DropClosed] != 3 || st.Pending != 0 {
			t.Fatalf("stats %+v", st)
		}
		if s.Send(Click{Link: "late"}) {
			t.Fatal("a click was taken after Close")
		}
	})
}

func TestSenderOptionsAreChecked(t *testing.T) {
	t.Parallel()
	for _, base := range []string{"", "ingest:80", "ftp://ingest", "http://", "http://ingest/?x=1"} {
		if _, err := NewSender(base, SenderOptions{}); err == nil {
			t.Errorf("%q was taken", base)
		}
	}
	for _, opts := range []SenderOptions{{Queue: -1}, {MaxBatch: 1001}, {RequestTimeout: -1}} {
		if _, err := NewSender("http://ingest", opts); err == nil {
			t.Errorf("%+v was taken", opts)
		}
	}
}
