package auth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
)

// Verifier tells whose a token is, and whether it may be believed. It is safe for concurrent use.
//
// It believes what is signed by a key that it has, with the algorithm of that key, for its audience by its issuer, now and
// for no longer than it is told; what else a token says of its own verification (where to find a key, which algorithm to
// use, what must be understood) is refused or not looked at. Of RFC 8725 it keeps section 3 whole.
type Verifier struct {
	expect  expectation
	keys    *keyring
	remote  *remote // nil where there is no JWKS
	files   *files  // nil where there are no key files
	gate    *gate
	metrics *metrics
}

// Option changes how a verifier is made.
type Option func(*options)

type options struct {
	log      *zap.Logger
	registry prometheus.Registerer
	client   *http.Client
}

// WithLogger logs to log; the default is silence. Nothing of a token is logged.
func WithLogger(log *zap.Logger) Option { return func(o *options) { o.log = log } }

// WithMetrics registers metrics with registry; the default is not to.
func WithMetrics(registry prometheus.Registerer) Option {
	return func(o *options) { o.registry = registry }
}

// WithClient reads the JWKS with client, whose redirects are checked all the same; the default is one of its own.
func WithClient(client *http.Client) Option { return func(o *options) { o.client = client } }

// New returns a verifier. It reads the key files, which must be good, and does no other I/O: the JWKS is read by
// [Verifier.Run].
func New(cfg Config, opts ...Option) (*Verifier, error) {
	o := options{log: zap.NewNop()}
	for _, opt := range opts {
		opt(&o)
	}
	if err := cfg.Check(); err != nil {
		return nil, fmt.Errorf("verifying tokens: %w", err)
	}
	var sources []source
	if cfg.JWKSURL != "" {
		sources = append(sources, sourceJWKS)
	}
	if len(cfg.KeyFiles) > 0 || cfg.SecretFile != "" {
		sources = append(sources, sourceFiles)
	}
	v := &Verifier{
		expect: expectation{issuer: cfg.issuer(), audience: cfg.Audience, maxLifetime: cfg.MaxLifetime},
		keys:   newKeyring(o.log, sources...), gate: newGate(),
	}
	v.metrics = newMetrics(v.keys.size, func() float64 { return float64(v.gate.waiting.Load()) })
	v.keys.metrics = v.metrics
	for _, s := range sources {
		v.metrics.follow(s)
		var err error
		switch s {
		case sourceJWKS:
			v.remote, err = newRemote(&cfg, o.client, v.keys, o.log)
		case sourceFiles:
			v.files = &files{cfg: cfg, keys: v.keys, log: o.log}
			err = v.files.load()
		}
		if err != nil {
			return nil, fmt.Errorf("verifying tokens: %w", err)
		}
	}
	if o.registry != nil {
		if err := v.metrics.register(o.registry); err != nil {
			return nil, fmt.Errorf("verifying tokens: %w", err)
		}
	}
	return v, nil
}

// Run keeps the keys fresh until ctx ends, and returns nil then. Whatever cannot be read is told of in the log, in
// [Verifier.Ready] and in the metrics, and tried again; the keys of before are kept meanwhile.
func (v *Verifier) Run(ctx context.Context) error {
	var running sync.WaitGroup
	defer running.Wait()
	if v.remote != nil {
		running.Go(func() { v.remote.run(ctx) })
	}
	if v.files != nil {
		running.Go(func() { v.files.run(ctx) })
	}
	<-ctx.Done()
	return nil
}

// Load reads the keys once: for programs that verify a token and end. It must not be called while Run runs.
func (v *Verifier) Load(ctx context.Context) error {
	var errs []error
	if v.remote != nil {
		errs = append(errs, v.remote.load(ctx))
	}
	if v.files != nil {
		errs = append(errs, v.files.load())
	}
	return errors.Join(errs...)
}

// Ready returns nil once the keys have been read, from everywhere where there are some. It stays nil: keys that cannot be
// read any more are no reason to send everybody elsewhere.
func (v *Verifier) Ready() error { return v.keys.ready() }

// Verify returns whose a token is. The error is a *[RefusedError], also where ctx ends before the token was looked at. It
// may wait for a second for a key that is new, and for one for others to be verified.
func (v *Verifier) Verify(ctx context.Context, token string) (*Identity, error) {
	id, refused := v.verify(ctx, token)
	v.metrics.verified(refused)
	if refused != nil { // and not a nil of its type
		return nil, refused
	}
	return id, nil
}

func (v *Verifier) verify(ctx context.Context, s string) (*Identity, *RefusedError) {
	t, refused := parseToken(s)
	if refused != nil {
		return nil, refused
	}
	k, refused := v.key(ctx, &t)
	if refused != nil {
		return nil, refused
	}
	if t.algorithm != k.name {
		return nil, &RefusedError{ReasonAlgorithm, "the key that signed the token is for another alg"}
	}
	if !v.gate.enter(ctx) {
		return nil, &RefusedError{ReasonBusy, "more tokens are to be verified than can be: try again later"}
	}
	err := k.method.Verify(t.signed, t.signature, k.public)
	v.gate.leave()
	if err != nil {
		return nil, &RefusedError{ReasonSignature, "the signature is not by the key that the token names"}
	}
	return v.expect.identity(t.claims, time.Now())
}

// key returns the key that a token names.
func (v *Verifier) key(ctx context.Context, t *token) (*key, *RefusedError) {
	set := v.keys.current.Load()
	k, refused, known := set.find(t)
	switch {
	case refused != nil && len(set.byID) == 0:
		return nil, &RefusedError{ReasonKeysAway, "the keys that tokens are signed with are not there yet: try again later"}
	case known:
		return k, refused
	case v.remote != nil:
		return v.remote.await(ctx, t.keyID)
	default:
		return nil, &RefusedError{ReasonKey, "the kid of the header is that of no key"}
	}
}
