package keyring

import (
	"crypto/subtle"
	"iter"
	"net/http"
	"time"

	"github.com/linkpulse/linkpulse/pkg/apikey"
)

// Ring is a set of keys that requests are held against. It does not change, so it is safe for concurrent use.
type Ring struct {
	keys  map[string]*Key // by id
	list  []*Key          // as they stand in the file
	files []stamp         // that it was read from
	// nobody is what stands for a key that there is not, so that to look for it costs the same.
	nobody Key
}

func newRing(keys []*Key) *Ring {
	r := &Ring{keys: make(map[string]*Key, len(keys)), list: keys}
	for _, k := range keys {
		r.keys[k.id] = k
	}
	return r
}

// All returns the keys, in the order of the file.
func (r *Ring) All() iter.Seq[*Key] {
	return func(yield func(*Key) bool) {
		for _, k := range r.list {
			if !yield(k) {
				return
			}
		}
	}
}

// Len is how many keys there are.
func (r *Ring) Len() int { return len(r.list) }

// Key returns the key of an id; nil: there is none.
func (r *Ring) Key(id string) *Key { return r.keys[id] }

// Find returns the key that a request presents by its headers, and in p what it presents. A signature proves nothing before
// [Key.Verify]. The error is a *[apikey.RefusedError]; where it is about a key that there is, that key has counted it. It
// does not allocate.
func (r *Ring) Find(header http.Header, p *apikey.Presented, now time.Time) (*Key, error) {
	var err error
	if *p, err = apikey.Read(header); err != nil {
		return nil, err
	}
	k, known := r.keys[p.ID()]
	if !known {
		k = &r.nobody
	}
	if err := k.accepts(p, now); err != nil {
		if known {
			k.CountRefused()
		}
		return nil, err
	}
	return k, nil
}

// accepts tells whether credentials are good as far as that can be told without a body. A secret is compared by its hash, and
// in a time that does not depend on where they differ.
func (k *Key) accepts(p *apikey.Presented, now time.Time) error {
	if p.Signed() {
		if k.secret == nil {
			return apikey.ErrKey()
		}
		if !p.Timely(now) {
			return apikey.ErrTime()
		}
	} else if hash := p.Hash(); subtle.ConstantTimeCompare(hash[:], k.hash[:]) != 1 || !k.hashed {
		return apikey.ErrKey()
	}
	if !k.notAfter.IsZero() && now.After(k.notAfter) {
		return apikey.ErrExpired()
	}
	return nil
}
