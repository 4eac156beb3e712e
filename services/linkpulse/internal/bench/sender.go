package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/linkpulse/linkpulse/pkg/click"
)

// sender posts the clicks of its links, in order, one request at a time: the order in which a link's clicks lie in the
// log is the order of the plan.
type sender struct {
	run    *run
	client *http.Client
	url    string
	jobs   []job
	body   bytes.Buffer
}

const (
	// maxRequest is how many clicks one request carries when the sender has fallen behind.
	maxRequest = 100
	// retryPause is the wait before a request without a good answer is sent again.
	retryPause = 20 * time.Millisecond
)

// send works off the jobs. It returns early only when ctx ends.
func (s *sender) send(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for jobs := s.jobs; len(jobs) > 0; {
		if wait := jobs[0].due - s.run.now(); wait > 0 {
			timer.Reset(wait)
			select {
			case <-timer.C:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		now := s.run.now()
		n := 1
		for n < len(jobs) && n < maxRequest && jobs[n].due <= now {
			n++
		}
		s.run.late(jobs[0].due, now)
		if err := s.encode(jobs[:n]); err != nil {
			return err
		}
		if err := s.post(ctx); err != nil {
			return err
		}
		s.run.sent(n)
		jobs = jobs[n:]
	}
	return nil
}

// encode writes the request: one click as an object, several as an array.
func (s *sender) encode(jobs []job) error {
	s.body.Reset()
	if len(jobs) > 1 {
		s.body.WriteByte('[')
	}
	for i, j := range jobs {
		id, err := click.NewID()
		if err != nil {
			return err
		}
		if i > 0 {
			s.body.WriteByte(',')
		}
		fmt.Fprintf(&s.body, `{"link":%q,"id":%q}`, s.run.name(j.link), id)
	}
	if len(jobs) > 1 {
		s.body.WriteByte(']')
	}
	return nil
}

// post sends the request until it is answered with 202. The ids are the same each time, so that it counts once.
func (s *sender) post(ctx context.Context) error {
	for {
		err := s.try(ctx)
		var final *refusedError
		switch {
		case err == nil:
			return nil
		case errors.As(err, &final):
			return err
		case ctx.Err() != nil:
			return errors.Join(context.Cause(ctx), err)
		}
		s.run.retries.Add(1)
		select {
		case <-time.After(retryPause):
		case <-ctx.Done():
		}
	}
}

// refusedError is an answer that another try would not change.
type refusedError struct{ status, body string }

func (e *refusedError) Error() string {
	return fmt.Sprintf("ingest refuses the load: %s: %s", e.status, e.body)
}

func (s *sender) try(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, bytes.NewReader(s.body.Bytes()))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := s.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	switch {
	case err != nil:
		return err
	case resp.StatusCode == http.StatusAccepted:
		return nil
	case resp.StatusCode >= http.StatusInternalServerError || resp.StatusCode == http.StatusTooManyRequests:
		return errors.New(resp.Status)
	default:
		return &refusedError{status: resp.Status, body: string(answer[:min(len(answer), 300)])}
	}
}
