package ingest

import (
	"context"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/linkpulse/linkpulse/pkg/apikey"
	"github.com/linkpulse/linkpulse/pkg/apikey/keyring"
)

// everybody is who may send clicks where authentication is off. Credentials are not looked at, so a client may always send
// some.
type everybody struct{ key *keyring.Key }

// Find implements api.Keys.
func (e everybody) Find(_ http.Header, p *apikey.Presented, _ time.Time) (*keyring.Key, error) {
	*p = apikey.Presented{}
	return e.key, nil
}

// lookEvery is how often the file of keys is looked at: a key that was taken out of it is good for so long still. To look is
// a stat of a few files.
const lookEvery = 2 * time.Second

// keys are the API keys of now. The file is read again when it changes; where it cannot be, the keys of before stay: a
// mistake in a file must not turn every sender away. It is said in the log, and by a metric for as long as it lasts.
type keys struct {
	path string
	log  *zap.Logger

	ring   atomic.Pointer[keyring.Ring]
	broken atomic.Bool // the file is not what the ring was read from
	told   string      // what is wrong with it; watch's own

	read, failed prometheus.Counter
}

// openKeys reads the file of keys for the first time, when a mistake is an error.
func openKeys(path string, log *zap.Logger, registry *prometheus.Registry) (*keys, error) {
	ring, err := keyring.Load(path, nil)
	if err != nil {
		return nil, err
	}
	k := &keys{path: path, log: log.Named("keys")}
	k.ring.Store(ring)
	reads := prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "linkpulse", Subsystem: "ingest", Name: "keys_reads_total",
		Help: "How often the file of API keys was read again, by result.",
	}, []string{"result"})
	k.read, k.failed = reads.WithLabelValues("ok"), reads.WithLabelValues("failed")
	if err := register(registry, reads, newKeyMetrics(k)); err != nil {
		return nil, err
	}
	k.tell(ring, nil)
	return k, nil
}

// Find implements api.Keys.
func (k *keys) Find(header http.Header, p *apikey.Presented, now time.Time) (*keyring.Key, error) {
	return k.ring.Load().Find(header, p, now)
}

// watch reads the file when it changes, until ctx ends.
func (k *keys) watch(ctx context.Context) {
	if k == nil {
		return
	}
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			k.look()
		case <-ctx.Done():
			return
		}
	}
}

// look reads the file if it has changed, or could not be read the last time: what was wrong need not have been in it.
func (k *keys) look() {
	before := k.ring.Load()
	if !k.broken.Load() && !before.Changed() {
		return
	}
	ring, err := keyring.Load(k.path, before)
	if err != nil {
		k.broken.Store(true)
		k.failed.Inc()
		if k.told != err.Error() {
			k.told = err.Error()
			k.log.Error("the API keys are not what their file says: it cannot be read, and those of before are still good, also those that were taken out of it",
				zap.Error(err))
		}
		return
	}
	k.ring.Store(ring)
	k.broken.Store(false)
	k.told = ""
	k.read.Inc()
	k.tell(ring, before)
}

// tell logs what the keys are now. Their ids are no secrets.
func (k *keys) tell(ring, before *keyring.Ring) {
	const most = 20 // ids of a line
	fields := []zap.Field{zap.Int("keys", ring.Len())}
	if before != nil {
		fields = append(fields, zap.Strings("added", without(ring, before, most)), zap.Strings("removed", without(before, ring, most)))
	}
	if ring.Len() == 0 {
		k.log.Warn("there are no API keys: nobody can send clicks", fields...)
		return
	}
	k.log.Info("API keys", fields...)
}

// without returns the ids of keys that the other ring has not, up to most.
func without(ring, other *keyring.Ring, most int) (ids []string) {
	for key := range ring.All() {
		if other.Key(key.ID()) == nil {
			if len(ids) == most {
				return append(ids, "…")
			}
			ids = append(ids, key.ID())
		}
	}
	return ids
}

// keyMetrics shows what there is per key. Its labels are the ids of the file, so their number is the operator's, at most
// keyring.MaxKeys, and nothing that a client sends adds one. They are worth that: they tell who sends how much, whether the
// old key of a rotation is still in use, and which sender has a key that is refused or about to end.
type keyMetrics struct {
	keys                                     *keys
	count, broken, accepted, refused, expiry *prometheus.Desc
}

func newKeyMetrics(k *keys) *keyMetrics {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(prometheus.BuildFQName("linkpulse", "ingest", name), help, labels, nil)
	}
	return &keyMetrics{
		keys:     k,
		count:    desc("keys", "API keys that there are."),
		broken:   desc("keys_file_broken", "1 while the file of API keys cannot be read and those of before are used."),
		accepted: desc("key_accepted_clicks_total", "Clicks that Kafka acknowledged, by the key that they were sent with.", "key"),
		refused: desc("key_refused_requests_total",
			"Requests that were refused because of their key, by key: another secret, expired, a bad signature, links that it does not cover, more than it may send.", "key"),
		expiry: desc("key_expires_timestamp_seconds", "When a key ends, of those that do.", "key"),
	}
}

// Describe implements prometheus.Collector.
func (m *keyMetrics) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{m.count, m.broken, m.accepted, m.refused, m.expiry} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (m *keyMetrics) Collect(to chan<- prometheus.Metric) {
	ring := m.keys.ring.Load()
	broken := 0.0
	if m.keys.broken.Load() {
		broken = 1
	}
	to <- prometheus.MustNewConstMetric(m.count, prometheus.GaugeValue, float64(ring.Len()))
	to <- prometheus.MustNewConstMetric(m.broken, prometheus.GaugeValue, broken)
	for key := range ring.All() {
		clicks, refused := key.Counted()
		to <- prometheus.MustNewConstMetric(m.accepted, prometheus.CounterValue, float64(clicks), key.ID())
		to <- prometheus.MustNewConstMetric(m.refused, prometheus.CounterValue, float64(refused), key.ID())
		if at := key.NotAfter(); !at.IsZero() {
			to <- prometheus.MustNewConstMetric(m.expiry, prometheus.GaugeValue, float64(at.Unix()), key.ID())
		}
	}
}
