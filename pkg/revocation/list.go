package revocation

import (
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/linkpulse/linkpulse/pkg/auth"
)

// set is what is revoked.
type set struct {
	tokens   map[string]entry
	subjects map[string]entry
	all      entry
}

// entry is a revocation, in Unix milliseconds. The zero entry concerns nobody.
type entry struct{ before, until int64 }

func newSet() set { return set{tokens: map[string]entry{}, subjects: map[string]entry{}} }

func (s *set) put(r *Revocation) {
	e := entry{until: r.Until.UnixMilli()}
	if !r.IssuedBefore.IsZero() {
		e.before = r.IssuedBefore.UnixMilli()
	}
	switch k := r.key(); k.kind {
	case kindToken:
		s.tokens[k.name] = e
	case kindSubject:
		s.subjects[k.name] = e
	case kindAll:
		s.all = e
	}
}

func (s *set) remove(k key) {
	switch k.kind {
	case kindToken:
		delete(s.tokens, k.name)
	case kindSubject:
		delete(s.subjects, k.name)
	case kindAll:
		s.all = entry{}
	}
}

// sweep removes what is over.
func (s *set) sweep(now int64) {
	over := func(_ string, e entry) bool { return e.until <= now }
	maps.DeleteFunc(s.tokens, over)
	maps.DeleteFunc(s.subjects, over)
	if over("", s.all) {
		s.all = entry{}
	}
}

func (s *set) empty() bool { return len(s.tokens)+len(s.subjects) == 0 && s.all == entry{} }

// revoked tells whether an identity's token is revoked. What no token stands for was never issued.
func (s *set) revoked(id *auth.Identity) bool {
	if id.IssuedAt.IsZero() {
		return false
	}
	issued := id.IssuedAt.UnixMilli()
	if issued < s.all.before {
		return true
	}
	if e, ok := s.subjects[id.Subject]; ok && issued < e.before {
		return true
	}
	if id.TokenID == "" {
		return false
	}
	_, ok := s.tokens[id.TokenID]
	return ok
}

// List is what is revoked, as far as [Follow] has read. It is safe for concurrent use.
//
// Whoever keeps identities looks them up once more when it has them where the function that Follow calls finds them: what
// is revoked between a look and that call would be missed otherwise.
type List struct {
	log     *zap.Logger
	records *prometheus.CounterVec

	mu   sync.RWMutex // guards what follows
	set  set
	why  error     // nil once the topic was read to its end
	asOf time.Time // everything that was written before is in the list
}

// ErrNotRead says that the revocations have not been read yet: nobody knows which tokens are good.
var ErrNotRead = errors.New("the revoked tokens have not been read yet")

// Option changes how a list is made.
type Option func(*List, *options)

type options struct{ registry prometheus.Registerer }

// WithLogger logs to log; the default is silence.
func WithLogger(log *zap.Logger) Option { return func(l *List, _ *options) { l.log = log } }

// WithMetrics registers metrics with registry; the default is not to.
func WithMetrics(registry prometheus.Registerer) Option {
	return func(_ *List, o *options) { o.registry = registry }
}

// NewList returns a list that is empty, and not ready.
func NewList(opts ...Option) (*List, error) {
	l := &List{log: zap.NewNop(), set: newSet(), why: ErrNotRead}
	var o options
	for _, opt := range opts {
		opt(l, &o)
	}
	return l, l.register(o.registry)
}

// What became of a record. It is a label.
const (
	recordRevokes = "revokes"
	recordLifts   = "lifts"
	recordPoison  = "poison"
)

func (l *List) register(registry prometheus.Registerer) error {
	const ns, sub = "linkpulse", "revocation"
	l.records = prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: ns, Subsystem: sub, Name: "records_total",
		Help: "Records about revoked tokens that were read, by what they do; poison could not be read, and does nothing.",
	}, []string{"result"})
	for _, result := range []string{recordRevokes, recordLifts, recordPoison} {
		l.records.WithLabelValues(result)
	}
	if registry == nil {
		return nil
	}
	collectors := []prometheus.Collector{l.records, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: ns, Subsystem: sub, Name: "complete_to_timestamp_seconds",
		Help: "Every revocation that was written before then is known; 0 is never.",
	}, func() float64 {
		l.mu.RLock()
		defer l.mu.RUnlock()
		if l.asOf.IsZero() {
			return 0
		}
		return float64(l.asOf.UnixMilli()) / 1e3
	})}
	for of, size := range map[kind]func() int{
		kindToken: func() int { return len(l.set.tokens) }, kindSubject: func() int { return len(l.set.subjects) },
	} {
		collectors = append(collectors, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Namespace: ns, Subsystem: sub, Name: "entries", Help: "Tokens and subjects that are revoked.",
			ConstLabels: prometheus.Labels{"of": string(of)},
		}, func() float64 {
			l.mu.RLock()
			defer l.mu.RUnlock()
			return float64(size())
		}))
	}
	for _, c := range collectors {
		if err := registry.Register(c); err != nil {
			return fmt.Errorf("registering metrics: %w", err)
		}
	}
	return nil
}

// Revoked tells whether an identity's token is revoked. It does not allocate.
func (l *List) Revoked(id *auth.Identity) bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.set.revoked(id)
}

// Ready returns nil once everything has been read that was there when reading began. It stays nil: a broker that is away
// is no reason to take nobody any more, and what was revoked stays so.
func (l *List) Ready() error {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.why
}

// notReady says why it is not, if it is not.
func (l *List) notReady(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.why != nil {
		l.why = fmt.Errorf("%w: %w", ErrNotRead, err)
	}
}

// complete notes that everything is in the list that was written before a time.
func (l *List) complete(asOf time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.why = nil
	if asOf.After(l.asOf) {
		l.asOf = asOf
	}
}

func (l *List) sweep(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.set.sweep(now.UnixMilli())
}

func (l *List) put(r *Revocation) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.set.put(r)
}

func (l *List) remove(k key) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.set.remove(k)
}
