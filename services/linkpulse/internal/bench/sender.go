package bench

import (
	"context"
	"fmt"
	"math"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/linkpulse/linkpulse/pkg/click"
)

// sender posts the clicks of the plan when they are due, each as a request of its own on the connection that rested
// longest. A link's clicks go out in their order: while a request of a link is on its way, the link's next clicks wait,
// and go together then. It belongs to the generator's goroutine.
type sender struct {
	run  *run
	poll notifier
	jobs []job // of all links
	next int   // the first of them that is not due yet

	host   string
	header string // of a request, up to the number of its Content-Length

	links   []linkQueue
	waiting []waiting // links that have clicks to post and no request on its way, the longest wait first
	idle    []*poster
	paused  []*poster // their requests are to be sent again, in the order of again
	posters []*poster
	checked time.Duration // when all posters were looked at
	body    []byte
}

// linkQueue is a link as the sender sees it. Its plan says when each of its clicks is due.
type linkQueue struct {
	posted, due int  // how many of its clicks were sent, and are to be sent
	busy        bool // it is in waiting, or a request of it is on its way
}

// waiting is a link that has something to post since a time.
type waiting struct {
	link  int
	since time.Duration
}

const (
	// maxRequest is how many clicks one request carries when connections are short.
	maxRequest = 100
	// retryPause is the wait before a request without a good answer is sent again.
	retryPause = 20 * time.Millisecond
	// patience is how long a request waits for its answer before it is sent again on another connection.
	patience = time.Minute
	// dialTimeout bounds a connection's opening. The load waits for it: connections are lost with the system only.
	dialTimeout = 5 * time.Second

	never = time.Duration(math.MaxInt64)
)

func newSender(r *run, p notifier) (*sender, error) {
	at, err := url.Parse(r.target.Ingest)
	if err != nil || at.Scheme != "http" || at.Host == "" {
		return nil, fmt.Errorf("ingest %q: want a URL like http://127.0.0.1:8080", r.target.Ingest)
	}
	return &sender{
		run: r, poll: p, jobs: r.plan.jobs(), links: make([]linkQueue, len(r.plan.due)), host: at.Host,
		header: "POST " + strings.TrimSuffix(at.Path, "/") + "/v1/clicks HTTP/1.1\r\nHost: " + at.Host +
			"\r\nUser-Agent: linkpulse-bench\r\nContent-Type: application/json\r\nContent-Length: ",
	}, nil
}

// open opens all connections.
func (s *sender) open(ctx context.Context) error {
	for range s.run.load.Senders {
		p := &poster{sender: s}
		if err := p.dial(ctx); err != nil {
			return err
		}
		s.posters = append(s.posters, p)
		s.idle = append(s.idle, p)
	}
	return nil
}

// dispatch posts what is due, and returns when it has to be called again at the latest.
func (s *sender) dispatch(ctx context.Context) (next time.Duration, err error) {
	now := s.run.now()
	for ; s.next < len(s.jobs) && s.jobs[s.next].due <= now; s.next++ {
		j := s.jobs[s.next]
		q := &s.links[j.link]
		q.due++
		if !q.busy {
			q.busy = true
			s.waiting = append(s.waiting, waiting{j.link, j.due})
		}
	}
	for len(s.waiting) > 0 && len(s.idle) > 0 {
		p := s.idle[0]
		links := (len(s.waiting) + len(s.idle) - 1) / len(s.idle)
		s.idle = append(s.idle[:0], s.idle[1:]...)
		if err := p.take(links); err != nil {
			return 0, err
		}
		p.post(ctx)
	}
	s.again(ctx, now)
	next = never
	if s.next < len(s.jobs) {
		next = s.jobs[s.next].due
	}
	if len(s.paused) > 0 {
		next = min(next, s.paused[0].again)
	}
	return next, nil
}

// again sends requests again whose pause is over, and gives up connections that do not answer.
func (s *sender) again(ctx context.Context, now time.Duration) {
	for len(s.paused) > 0 && s.paused[0].again <= now {
		p := s.paused[0]
		s.paused = append(s.paused[:0], s.paused[1:]...)
		p.post(ctx)
	}
	if now-s.checked < time.Second {
		return
	}
	s.checked = now
	for _, p := range s.posters {
		if p.clicks > 0 && p.again == 0 && now-p.sentAt > patience {
			p.lost()
		}
	}
}

// answered tells that the clicks of a poster were accepted.
func (s *sender) answered(p *poster) {
	now := s.run.now()
	s.run.sent(p.clicks)
	for _, link := range p.links {
		q := &s.links[link]
		if q.busy = q.due > q.posted; q.busy {
			s.waiting = append(s.waiting, waiting{link, now})
		}
	}
	p.links, p.clicks = p.links[:0], 0
	s.idle = append(s.idle, p)
}

// poster is a keep-alive connection to ingest, with at most one request on its way.
type poster struct {
	sender  *sender
	line    line // nil: to be opened
	request []byte
	links   []int         // of the request
	clicks  int           // of the request; 0: none
	sentAt  time.Duration // when it was sent last
	again   time.Duration // when to send it again; 0: it was not answered yet
	in      replyReader
}

func (p *poster) dial(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	conn, err := p.sender.run.dial(ctx, "tcp", p.sender.host)
	if err != nil {
		return err
	}
	p.in.reset()
	p.line, err = p.sender.poll.add(conn, p)
	return err
}

// take makes the request for the clicks of the first of the links that wait: one click is an object, several are an
// array.
func (p *poster) take(links int) error {
	s := p.sender
	now := s.run.now()
	s.body = append(s.body[:0], '[')
	for len(p.links) < links && len(s.waiting) > 0 && p.clicks < maxRequest {
		w := s.waiting[0]
		s.waiting = append(s.waiting[:0], s.waiting[1:]...)
		p.links = append(p.links, w.link)
		for q := &s.links[w.link]; q.posted < q.due && p.clicks < maxRequest; q.posted++ {
			due := s.run.plan.due[w.link][q.posted]
			s.run.late(due, now-max(due, w.since))
			id, err := click.NewID()
			if err != nil {
				return err
			}
			s.body = append(s.body, `{"link":"`...)
			s.body = s.run.appendName(s.body, w.link)
			s.body = append(s.body, `","id":"`...)
			s.body = append(id.Append(s.body), `"},`...)
			p.clicks++
		}
	}
	body := s.body[1 : len(s.body)-1]
	if p.clicks > 1 {
		s.body[len(s.body)-1] = ']'
		body = s.body
	}
	p.request = strconv.AppendInt(append(p.request[:0], s.header...), int64(len(body)), 10)
	p.request = append(append(p.request, "\r\n\r\n"...), body...)
	return nil
}

// post sends the request. The ids are the same each time, so that it counts once.
func (p *poster) post(ctx context.Context) {
	p.again = 0
	if p.line == nil && p.dial(ctx) != nil {
		p.pause()
		return
	}
	p.sentAt = p.sender.run.now()
	if _, err := p.line.Write(p.request); err != nil {
		p.lost()
	}
}

// pause keeps the request for another try.
func (p *poster) pause() {
	p.sender.run.retries.Add(1)
	p.again = p.sender.run.now() + retryPause
	p.sender.paused = append(p.sender.paused, p)
}

// lost gives the connection up; the request, if there is one, is sent again on another one.
func (p *poster) lost() {
	p.drop()
	if p.clicks > 0 && p.again == 0 {
		p.pause()
	}
}

func (p *poster) drop() {
	if p.line != nil {
		_ = p.line.Close() // what matters of it has been read
	}
	p.line = nil
}

// readable implements handler.
func (p *poster) readable() error {
	if p.line == nil {
		return nil // it was given up a moment ago
	}
	n, err := p.line.Read(p.in.space())
	switch {
	case err != nil, p.clicks == 0 && n > 0: // the end, or bytes that nobody asked for
		p.lost()
		return nil //nolint:nilerr // the request is sent again, and the next connection tells what is wrong
	case n == 0:
		return nil
	}
	answer, ok, err := p.in.filled(n)
	switch {
	case err != nil:
		return fmt.Errorf("ingest does not answer in HTTP: %w", err)
	case !ok:
		return nil
	case answer.last:
		p.drop()
	}
	switch {
	case answer.status == statusAccepted:
		p.sender.answered(p)
	case answer.status >= statusServerError || answer.status == statusTooMany:
		p.pause()
	default:
		return &refusedError{status: answer.status, body: string(answer.body[:min(len(answer.body), 300)])}
	}
	return nil
}

// refusedError is an answer that another try would not change.
type refusedError struct {
	status int
	body   string
}

func (e *refusedError) Error() string {
	return fmt.Sprintf("ingest refuses the load: %d: %s", e.status, e.body)
}
