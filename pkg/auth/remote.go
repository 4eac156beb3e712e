package auth

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"sync"
	"time"

	"go.uber.org/zap"
)

const (
	// remoteEvery is how often the key set is read where nobody asks for it: how long a key that its issuer has withdrawn
	// is believed.
	remoteEvery = 5 * time.Minute
	// remoteRest is the least time between two readings that unknown keys cause. Anybody can name a key that is not there,
	// at no cost: that is an attack on the issuer. It makes no new key wait for longer than that either.
	remoteRest = 10 * time.Second
	// remoteTimeout bounds a reading.
	remoteTimeout = 3 * time.Second
	// remoteWait is how long a token that names an unknown key waits for a reading, and remoteWaiting how many do: each
	// holds a connection that has not proven anything.
	remoteWait    = time.Second
	remoteWaiting = 64
	// remoteAsked is how many unknown keys are remembered between two readings. More than that nobody has.
	remoteAsked = 256
	// Until there are keys, and where a reading fails, it is tried again after leastRetry, and then after twice as long
	// each time up to mostRetry.
	leastRetry = time.Second
	mostRetry  = time.Minute
	// maxDocument is the longest key set. A hundred RSA keys with their certificates have a third of it.
	maxDocument = 512 << 10
	// maxRedirects is how often the set may turn out to be elsewhere.
	maxRedirects = 3
)

// remote keeps the keys of a JWKS fresh. What a token that names an unknown key is told depends on when the set was read:
// where that was after somebody had asked for the key, it is refused for good; where it was before, the key may be newer,
// and the bearer is to come again.
type remote struct {
	url          string
	rsaAlgorithm string
	client       *http.Client
	keys         *keyring
	log          *zap.Logger
	wake         chan struct{} // somebody wants a reading

	last []byte // the document, to log of a new one alone
	had  []*key // from it

	mu       sync.Mutex          // guards what follows
	began    time.Time           // the last reading
	reading  bool                // it is under way
	done     chan struct{}       // closed when the next reading ends
	waiting  int                 // tokens that wait for that
	asked    map[string]struct{} // unknown keys that were named since the last reading began
	absent   map[string]struct{} // of those before it, the ones that it has not brought, if it was successful
	failures int                 // in a row
}

func newRemote(cfg *Config, client *http.Client, keys *keyring, log *zap.Logger) (*remote, error) {
	r := &remote{
		url: cfg.JWKSURL, rsaAlgorithm: cfg.rsaAlgorithm(), keys: keys, log: log,
		wake: make(chan struct{}, 1), done: make(chan struct{}), asked: map[string]struct{}{},
	}
	if client == nil {
		transport, err := newTransport(cfg.JWKSCA)
		if err != nil {
			return nil, err
		}
		client = &http.Client{Transport: transport}
	}
	own := *client
	own.CheckRedirect = func(req *http.Request, via []*http.Request) error {
		if len(via) > maxRedirects {
			return errors.New("too many redirects")
		}
		return checkURL(req.URL.String())
	}
	r.client = &own
	return r, nil
}

// newTransport makes a connection for each reading: they are minutes apart.
func newTransport(ca string) (*http.Transport, error) {
	t := &http.Transport{
		Proxy: http.ProxyFromEnvironment, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12},
		DisableKeepAlives: true, MaxResponseHeaderBytes: 64 << 10,
	}
	if ca == "" {
		return t, nil
	}
	pem, err := os.ReadFile(ca)
	if err != nil {
		return nil, fmt.Errorf("reading the CA of the JWKS: %w", err)
	}
	t.TLSClientConfig.RootCAs = x509.NewCertPool()
	if !t.TLSClientConfig.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("reading the CA of the JWKS: %s holds no certificate", ca)
	}
	return t, nil
}

// run reads the set until ctx ends.
func (r *remote) run(ctx context.Context) {
	for {
		_ = r.load(ctx) // it is told of, and tried again
		timer := time.NewTimer(r.pause())
		select {
		case <-timer.C:
		case <-r.wake:
		case <-ctx.Done():
		}
		timer.Stop()
		if ctx.Err() != nil {
			return
		}
	}
}

// pause returns how long to rest. Gateways that were started at once should not ask at once.
func (r *remote) pause() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	base := remoteEvery
	if r.failures > 0 {
		base = min(leastRetry<<min(r.failures-1, 10), mostRetry)
	}
	return base - rand.N(base/4) //nolint:gosec // no secret
}

// load reads the set once.
func (r *remote) load(ctx context.Context) error {
	asked := r.begin()
	doc, err := r.fetch(ctx)
	var keys []*key
	if err == nil {
		keys, err = r.parse(doc)
	}
	if err == nil {
		for _, k := range r.had {
			asked[k.id] = struct{}{} // if it is gone, that is certain
		}
		r.had = keys
	} else {
		err = fmt.Errorf("reading the keys at %s: %w", r.url, err)
		if ctx.Err() == nil {
			r.log.Warn("the JWKS cannot be read: the keys of before are kept", zap.Error(err))
		}
	}
	r.keys.update(sourceJWKS, keys, err)
	r.end(asked, err)
	return err
}

// parse reads a document and logs what is left out of it, once.
func (r *remote) parse(doc []byte) ([]*key, error) {
	keys, skipped, err := parseJWKS(doc, r.rsaAlgorithm)
	if !bytes.Equal(doc, r.last) {
		for _, why := range skipped {
			r.log.Warn("a key of the JWKS is left out", zap.Error(why))
		}
		r.last = doc
	}
	return keys, err
}

func (r *remote) begin() (asked map[string]struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	asked = r.asked
	r.began, r.reading, r.asked = time.Now(), true, map[string]struct{}{}
	select {
	case <-r.wake: // whoever wanted a reading has one
	default:
	}
	return asked
}

func (r *remote) end(asked map[string]struct{}, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err == nil {
		r.absent, r.failures = asked, 0
	} else {
		maps.Copy(r.asked, asked) // nothing was learned of them
		r.failures++
	}
	r.reading = false
	close(r.done)
	r.done = make(chan struct{})
}

func (r *remote) fetch(ctx context.Context) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, remoteTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.url, http.NoBody)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/jwk-set+json, application/json")
	res, err := r.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the answer is %s", res.Status)
	}
	doc, err := io.ReadAll(io.LimitReader(res.Body, maxDocument+1))
	if err == nil && len(doc) > maxDocument {
		err = fmt.Errorf("more than %d bytes", maxDocument)
	}
	return doc, err
}

// await returns the key of an id that is not known, if it turns up soon.
func (r *remote) await(ctx context.Context, id string) (*key, *RefusedError) {
	done, refused := r.ask(id)
	if refused != nil {
		return nil, refused
	}
	timer := time.NewTimer(remoteWait)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
	case <-ctx.Done():
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waiting--
	if k := r.keys.current.Load().byID[id]; k != nil {
		return k, nil
	}
	return nil, r.verdict(id)
}

// ask notes that somebody wants a key and returns when there may be news of it, or why there will be none.
func (r *remote) ask(id string) (done <-chan struct{}, refused *RefusedError) {
	r.mu.Lock()
	defer r.mu.Unlock()
	// It may have come a moment ago. Then done is closed already.
	if r.keys.current.Load().byID[id] != nil {
		now := make(chan struct{})
		close(now)
		r.waiting++
		return now, nil
	}
	if !r.reading && time.Since(r.began) < remoteRest && !r.began.IsZero() {
		r.note(id)
		return nil, r.verdict(id)
	}
	r.note(id)
	if r.waiting >= remoteWaiting {
		return nil, r.verdict(id)
	}
	if !r.reading {
		select {
		case r.wake <- struct{}{}:
		default:
		}
	}
	r.waiting++
	return r.done, nil
}

// note remembers an id. Callers hold mu.
func (r *remote) note(id string) {
	if len(r.asked) < remoteAsked {
		r.asked[id] = struct{}{}
	}
}

// verdict says what is known of an id that there is no key of. Callers hold mu.
func (r *remote) verdict(id string) *RefusedError {
	if _, absent := r.absent[id]; absent {
		return &RefusedError{ReasonKey, "the kid of the header is that of no key"}
	}
	return &RefusedError{ReasonKeysAway, "the kid of the header is that of no key that is known yet: try again in 10 s"}
}
