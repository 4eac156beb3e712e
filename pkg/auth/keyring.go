package auth

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"go.uber.org/zap"
)

// keyring is the keys of all sources. A source that cannot be read keeps what it had.
type keyring struct {
	log     *zap.Logger
	metrics *metrics
	current atomic.Pointer[keySet]

	mu      sync.Mutex // guards what follows
	sources map[source]*sourceKeys
}

// sourceKeys is what a source had when it was read last.
type sourceKeys struct {
	keys []*key
	read bool
	err  error // of the last attempt
}

// keySet does not change.
type keySet struct {
	byID map[string]*key
	// sole is the key of a token that names none: where there is one key, and no other can come but in its place.
	sole *key
}

func newKeyring(log *zap.Logger, sources ...source) *keyring {
	r := &keyring{log: log, sources: map[source]*sourceKeys{}}
	r.current.Store(&keySet{})
	for _, s := range sources {
		r.sources[s] = &sourceKeys{err: errors.New("not tried yet")}
	}
	return r
}

// update takes over what an attempt to read a source came to.
func (r *keyring) update(s source, keys []*key, err error) {
	r.metrics.read(s, err)
	r.mu.Lock()
	defer r.mu.Unlock()
	is := r.sources[s]
	is.err = err
	if err != nil {
		return
	}
	if is.read && slices.EqualFunc(is.keys, keys, (*key).equal) {
		return
	}
	if is.read {
		r.log.Info("the keys that tokens are signed with have changed", zap.String("source", string(s)), zap.Int("keys", len(keys)))
	}
	is.keys, is.read = keys, true
	r.current.Store(r.merge())
}

// merge returns the keys of all sources. Those of files are the operator's own choice: whoever serves a JWKS cannot take
// the place of one by giving another the same id.
func (r *keyring) merge() *keySet {
	set := &keySet{byID: map[string]*key{}}
	for _, s := range []source{sourceFiles, sourceJWKS} {
		is := r.sources[s]
		if is == nil {
			continue
		}
		for _, k := range is.keys {
			if set.byID[k.id] != nil {
				r.log.Warn("a key of the JWKS is left out: a key file has its id", zap.String("kid", k.id))
				continue
			}
			set.byID[k.id] = k
		}
	}
	if _, jwks := r.sources[sourceJWKS]; !jwks && len(set.byID) == 1 {
		for _, k := range set.byID {
			set.sole = k
		}
	}
	return set
}

func (r *keyring) size() float64 { return float64(len(r.current.Load().byID)) }

// ErrNoKeys says that the keys have not been read yet: no token can be verified.
var ErrNoKeys = errors.New("the keys that tokens are signed with have not been read yet")

// ready returns nil once every source has been read.
func (r *keyring) ready() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for s, is := range r.sources {
		if !is.read {
			return fmt.Errorf("%w (%s): %w", ErrNoKeys, s, is.err)
		}
	}
	return nil
}

// find returns the key that a token names. known is false where there is none of that id, which may be because it is new.
func (s *keySet) find(t *token) (k *key, refused *RefusedError, known bool) {
	if !t.hasKeyID {
		if s.sole == nil {
			return nil, &RefusedError{ReasonKey, "the header has no kid: it must name the key"}, true
		}
		return s.sole, nil, true
	}
	k = s.byID[t.keyID]
	return k, nil, k != nil
}
