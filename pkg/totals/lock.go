package totals

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redis/rueidis"
)

// ErrLocked says that somebody else holds a lock.
var ErrLocked = errors.New("somebody else is at it")

// Lock keeps others from what is done once at a time. It is for people who do not know of each other: what must never
// happen twice is kept from it by a comparison where it is written. It is safe for concurrent use.
type Lock struct {
	store *Store
	key   string
	value string // who holds it, and a secret in front so that it is nobody else's
	hold  time.Duration
}

// Lock takes the lock of a name for a while, which [Lock.Extend] begins anew. Owner is what others are told who want it
// too: they get an error that wraps ErrLocked.
func (s *Store) Lock(ctx context.Context, name, owner string, hold time.Duration) (*Lock, error) {
	l := &Lock{store: s, key: s.cfg.Prefix + ":lock:" + name, value: rand.Text() + " " + owner, hold: hold}
	err := s.call(ctx, callLock, func(ctx context.Context, c rueidis.Client) error {
		err := c.Do(ctx, c.B().Set().Key(l.key).Value(l.value).Nx().Px(hold).Build()).Error()
		if !rueidis.IsRedisNil(err) {
			return err
		}
		held, err := c.Do(ctx, c.B().Get().Key(l.key).Build()).ToString()
		if err != nil && !rueidis.IsRedisNil(err) {
			return err
		}
		_, who, _ := strings.Cut(held, " ")
		return fmt.Errorf("%w: %s", ErrLocked, who)
	})
	if err != nil {
		return nil, fmt.Errorf("taking the lock %s: %w", l.key, err)
	}
	return l, nil
}

// Extend begins the while anew. An error that wraps ErrLocked says that it is lost.
func (l *Lock) Extend(ctx context.Context) error {
	return l.ifHeld(ctx, `return redis.call('PEXPIRE', KEYS[1], ARGV[2])`)
}

// Release gives the lock back. One that was lost already is no error.
func (l *Lock) Release(ctx context.Context) error {
	err := l.ifHeld(ctx, `return redis.call('DEL', KEYS[1])`)
	if errors.Is(err, ErrLocked) {
		return nil
	}
	return err
}

func (l *Lock) ifHeld(ctx context.Context, then string) error {
	script := rueidis.NewLuaScript(`if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end ` + then)
	err := l.store.call(ctx, callLock, func(ctx context.Context, c rueidis.Client) error {
		held, err := script.Exec(ctx, c, []string{l.key}, []string{l.value, decimal(l.hold.Milliseconds())}).AsInt64()
		if err == nil && held == 0 {
			err = fmt.Errorf("%w, since this one was away for too long", ErrLocked)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("keeping the lock %s: %w", l.key, err)
	}
	return nil
}
