package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/linkpulse/linkpulse/pkg/click"
)

// Fate is what became of a click in one request.
type Fate uint8

const (
	// FateDelivered means that it is in the log; never send it again.
	FateDelivered Fate = iota
	// FateFailed means that it is not in the log; send it again.
	FateFailed
	// FateUnknown means that it may be in the log; sent again with the same id, it counts once. See [RetryHorizon].
	FateUnknown
	// FateRefused means that it breaks a rule of ingest; sending it again ends the same way.
	FateRefused
)

// Outcome is what became of a request.
type Outcome struct {
	// Fates tells it per click. It is shorter than what was given where not all of it fitted in one request: the rest was
	// not sent.
	Fates []Fate
	// Err is nil if every click of Fates was delivered. It says what was wrong, and is a *[RefusedError] where ingest
	// answered with a problem document.
	Err error
	// RetryAfter is how long ingest asks to wait before the next request; 0 if it does not say.
	RetryAfter time.Duration
	// TooMuch tells that ingest or something in front of it takes no request of that size: send fewer clicks at once.
	TooMuch bool
	// Unauthorized tells that the credentials are refused, and not the clicks: Err wraps [ErrUnauthorized]. Nothing was
	// accepted, and nothing will be until the credentials are others, or ingest knows them.
	Unauthorized bool
}

// Credentials prove to ingest who sends a body: an apikey.Key, or an apikey.Signer. They are used by many goroutines at once.
type Credentials interface {
	// Authorize puts the proof for a body that is sent now into the header of its request.
	Authorize(header http.Header, body []byte, now time.Time)
}

// ErrUnauthorized is what a *[RefusedError] is too where ingest, or something in front of it, does not take clicks from
// whoever sent them. Sending them again ends the same way.
var ErrUnauthorized = errors.New("these credentials may not send clicks")

// RefusedError is an answer of ingest other than 202 (RFC 9457).
type RefusedError struct {
	Status int    // HTTP status
	Code   string // what programs branch on; empty if the answer was no problem document of ingest
	Rule   string // the rule that a click breaks, if one does
	Detail string // for people

	unauthorized bool
}

// Is tells that a refusal is about who sent the request.
func (e *RefusedError) Is(target error) bool { return target == ErrUnauthorized && e.unauthorized }

// Error returns status, code and detail.
func (e *RefusedError) Error() string {
	parts := []string{"ingest answers " + strconv.Itoa(e.Status) + " " + http.StatusText(e.Status)}
	for _, part := range []string{e.Code, e.Rule, e.Detail} {
		if part != "" {
			parts = append(parts, part)
		}
	}
	return strings.Join(parts, ": ")
}

// Poster posts clicks to ingest, one request at a time and waiting for the answer. It is what [Sender] is made of, for
// programs that must know what became of each click before they go on. It is safe for concurrent use.
type Poster struct {
	url         string
	timeout     time.Duration
	credentials Credentials // nil: none
	client      *http.Client
	own         *http.Transport // nil: the transport is the caller's
}

// maxBody is the largest body that ingest takes.
const maxBody = 1 << 20

// NewPoster returns a Poster for the ingest at base, like "http://ingest.example:8080", whose requests take at most
// timeout. Without credentials it sends none, for an ingest that asks for none. A nil transport gives it one of its own.
func NewPoster(base string, timeout time.Duration, credentials Credentials, transport http.RoundTripper) (*Poster, error) {
	u, err := url.Parse(base)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("the address of ingest must be a URL like http://127.0.0.1:8080, not %q", base)
	}
	if u.User != nil {
		return nil, errors.New("the address of ingest must have no user or password: it takes API keys")
	}
	p := &Poster{url: u.JoinPath("v1", "clicks").String(), timeout: timeout, credentials: credentials}
	if transport == nil {
		p.own = &http.Transport{
			Proxy:               http.ProxyFromEnvironment,
			TLSHandshakeTimeout: 5 * time.Second,
			IdleConnTimeout:     90 * time.Second,
			ForceAttemptHTTP2:   true,
		}
		transport = p.own
	}
	p.client = &http.Client{
		Transport: transport,
		// A click goes to the ingest that was named: where a redirect leads, nobody promises an acknowledgement.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return p, nil
}

// Close frees connections that are kept for another request.
func (p *Poster) Close() {
	if p.own != nil {
		p.own.CloseIdleConnections()
	}
}

// Post sends clicks, which must have ids, in one request: as many of them as it may carry. It makes one attempt.
func (p *Poster) Post(ctx context.Context, clicks []Click) Outcome {
	clicks = clicks[:min(len(clicks), maxBatch)]
	body, n, err := encode(clicks)
	if err != nil {
		return all(1, FateRefused, err)
	}
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url, bytes.NewReader(body))
	if err != nil {
		return all(n, FateFailed, fmt.Errorf("posting clicks: %w", err))
	}
	req.Header.Set("Content-Type", "application/x-ndjson")
	if p.credentials != nil {
		p.credentials.Authorize(req.Header, body, time.Now())
	}
	resp, err := p.client.Do(req)
	if err != nil {
		return all(n, fateOf(err), fmt.Errorf("posting clicks: %w", err))
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if resp.StatusCode == http.StatusAccepted {
		return all(n, FateDelivered, nil)
	}
	if err != nil {
		return all(n, FateUnknown, fmt.Errorf("posting clicks: reading the answer %d: %w", resp.StatusCode, err))
	}
	return judge(resp, answer, clicks[:n])
}

// errZeroID reports a click without an id: ingest would mint one, and then a retry would be another click.
var errZeroID = errors.New("a click needs an id before it is sent")

// encode writes the clicks one per line, as many as fit a body. The error is about the first one.
func encode(clicks []Click) (body []byte, n int, err error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	for i := range clicks {
		before := buf.Len()
		err = errZeroID
		if !clicks[i].ID.IsZero() {
			err = enc.Encode(clicks[i].wire())
		}
		if err != nil || buf.Len() > maxBody {
			buf.Truncate(before)
			break
		}
		n++
	}
	if n == 0 {
		return nil, 0, fmt.Errorf("encoding clicks: %w", err)
	}
	return buf.Bytes(), n, nil
}

// all returns the outcome of a request whose clicks all fared alike.
func all(n int, fate Fate, err error) Outcome {
	fates := make([]Fate, n)
	for i := range fates {
		fates[i] = fate
	}
	return Outcome{Fates: fates, Err: err}
}

// fateOf tells whether a request that got no answer may have been read by ingest.
func fateOf(err error) Fate {
	if op := (*net.OpError)(nil); errors.As(err, &op) && op.Op == "dial" {
		return FateFailed
	}
	return FateUnknown
}

// problem is the part of a problem document that a client acts on.
type problem struct {
	Type    string `json:"type"`
	Code    string `json:"code"`
	Rule    string `json:"rule"`
	Detail  string `json:"detail"`
	Index   *int   `json:"index"`
	Results []struct {
		Index  int    `json:"index"`
		Status string `json:"status"`
	} `json:"results"`
}

// judge reads an answer other than 202.
func judge(resp *http.Response, answer []byte, clicks []Click) Outcome {
	var p problem
	n := len(clicks)
	// Anything in front of ingest may answer too, with any body: what is no problem document of ingest says nothing.
	if json.Unmarshal(answer, &p) != nil || !strings.HasPrefix(p.Type, "urn:linkpulse:problem:") {
		p = problem{}
	}
	ours := p.Code != ""
	refused := &RefusedError{Status: resp.StatusCode, Code: p.Code, Rule: p.Rule, Detail: p.Detail}
	out := all(n, FateFailed, refused)
	out.RetryAfter = retryAfter(resp.Header.Get("Retry-After"))
	switch status := resp.StatusCode; {
	case ours && len(p.Results) > 0:
		fill(out.Fates, FateUnknown) // an entry that were missing would be one
		for _, r := range p.Results {
			if r.Index >= 0 && r.Index < n {
				out.Fates[r.Index] = resultFate(r.Status)
			}
		}
	case ours && status < http.StatusInternalServerError && p.Index != nil && *p.Index >= 0 && *p.Index < n:
		out.Fates[*p.Index] = FateRefused // and nothing of the request was accepted
		if status == http.StatusForbidden {
			refuseLink(out.Fates, clicks, clicks[*p.Index].Link)
		}
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		refused.unauthorized, out.Unauthorized = true, true
	case status == http.StatusRequestEntityTooLarge,
		ours && (status == http.StatusBadRequest || status == http.StatusUnprocessableEntity):
		out.TooMuch = n > 1 // which click it is about shows when they are sent apart
		if n == 1 {
			out.Fates[0] = FateRefused
		}
	case status >= http.StatusInternalServerError && (!ours || status != http.StatusServiceUnavailable):
		// A proxy that lost its upstream, or a defect of ingest, may come after the append.
		fill(out.Fates, FateUnknown)
	case status < http.StatusMultipleChoices:
		fill(out.Fates, FateUnknown) // success, but not the promise that 202 is
	}
	return out
}

// refuseLink refuses all clicks of a link that the credentials do not cover: the answer names the first one only, and would
// have to be given again for each.
func refuseLink(fates []Fate, clicks []Click, link string) {
	for i := range clicks {
		if clicks[i].Link == link {
			fates[i] = FateRefused
		}
	}
}

func fill(fates []Fate, fate Fate) {
	for i := range fates {
		fates[i] = fate
	}
}

func resultFate(status string) Fate {
	switch status {
	case "accepted":
		return FateDelivered
	case "failed":
		return FateFailed
	default:
		return FateUnknown
	}
}

// retryAfter reads the header (RFC 9110 section 10.2.3). Ingest sends seconds; a date, which something in front of it may
// send, is read by this machine's clock.
func retryAfter(v string) time.Duration {
	if v == "" {
		return 0
	}
	if seconds, err := strconv.Atoi(v); err == nil {
		return max(0, time.Duration(min(seconds, int(maxRetryAfter/time.Second)))*time.Second)
	}
	if at, err := http.ParseTime(v); err == nil {
		return max(0, min(time.Until(at), maxRetryAfter))
	}
	return 0
}

// maxRetryAfter bounds how long an answer can silence a client, so that a wrong header does not do it for a day.
const maxRetryAfter = 30 * time.Second

// NewID mints the id of a click (UUIDv7). It fails only where the system has no randomness.
func NewID() (click.ID, error) { return click.NewID() }
