package keyring

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"time"

	"github.com/linkpulse/linkpulse/pkg/apikey"
	"github.com/linkpulse/linkpulse/pkg/auth"
)

// Limits of a file of keys. They bound what a mistake can make of an ingest: its memory, and the metrics that there are per
// key.
const (
	// MaxFile is the most bytes of the file.
	MaxFile = 1 << 20
	// MaxKeys is the most keys of it.
	MaxKeys = 1000
	// MaxRate is the most clicks a second, and at once, that a key may be limited to.
	MaxRate = 1_000_000
	// MinRate is the least.
	MinRate = 0.001
	// defaultBurst is how many clicks a key may send at once where nothing else is said: the largest request passes whole.
	defaultBurst = 1000
	maxPath      = 4096
)

// Entry is a key as it stands in the file.
type Entry struct {
	// ID names the key, in what its holder sends, in metrics and in logs.
	ID string `json:"id"`
	// SHA256 is the hash of its secret, in hex. Empty: it is good for signed requests only.
	SHA256 string `json:"sha256,omitempty"`
	// Grants say which links it may send clicks of: see [auth.ParseGrants].
	Grants []string `json:"grants"`
	// ClicksPerSecond is how many clicks it may send to an ingest, in the long run. 0: as many as it likes.
	ClicksPerSecond float64 `json:"clicks_per_second,omitempty"`
	// Burst is how many of them at once. 0: a second's worth, and at least 1,000.
	Burst int `json:"burst,omitempty"`
	// NotAfter is when it ends. Zero: never.
	NotAfter time.Time `json:"not_after,omitzero"`
	// HMACSecretFile holds the secret that its holder signs requests with. Empty: it cannot sign any.
	HMACSecretFile string `json:"hmac_secret_file,omitempty"`
}

// Hashed returns what stands in the file of a key's secret.
func Hashed(k apikey.Key) string {
	h := k.Hash()
	return hex.EncodeToString(h[:])
}

// document is the file.
type document struct {
	Keys []Entry `json:"keys"`
}

// Encode returns the file of entries. It does not look whether they are in order: [Decode] does.
func Encode(entries []Entry) ([]byte, error) {
	if entries == nil {
		entries = []Entry{}
	}
	text, err := json.MarshalIndent(document{entries}, "", "  ")
	return append(text, '\n'), err
}

// Check returns everything that is wrong with the entry by itself. Its texts repeat no more of it than an id that is one.
func (e *Entry) Check() error {
	m := mistakes{}
	e.check(&m)
	return errors.Join(m.errs...)
}

// mistakes are what is wrong with an entry: at most one thing of each member.
type mistakes struct {
	told map[string]bool
	errs []error
}

func (m *mistakes) add(member string, err error) {
	if err == nil || m.told[member] {
		return
	}
	if m.told == nil {
		m.told = map[string]bool{}
	}
	m.told[member] = true
	m.errs = append(m.errs, fmt.Errorf("%s: %w", member, err))
}

// check makes of an entry what a ring has of it, but for the secret in its file.
func (e *Entry) check(m *mistakes) *Key {
	k := &Key{id: e.ID, notAfter: e.NotAfter}
	m.add(memberID, apikey.CheckID(e.ID))
	if e.SHA256 != "" {
		h, err := hex.DecodeString(e.SHA256)
		if err != nil || len(h) != len(k.hash) {
			m.add(memberSHA256, errors.New("must be 64 hex digits: the SHA-256 of the key's secret, as `linkpulse key hash` prints it"))
		}
		copy(k.hash[:], h)
		k.hashed = true
	} else if e.HMACSecretFile == "" && !m.told[memberSecrets] {
		m.add(memberSHA256, errors.New("there is neither this nor hmac_secret_file: nobody could use the key"))
	}
	if len(e.HMACSecretFile) > maxPath {
		m.add(memberSecrets, errors.New("no path is that long"))
	}
	var err error
	k.grants, err = auth.ParseGrants(e.Grants)
	m.add(memberGrants, err)
	k.limit = e.limit(m)
	return k
}

func (e *Entry) validID() bool { return apikey.CheckID(e.ID) == nil }

// limit reads the members that limit how much a key may send.
func (e *Entry) limit(m *mistakes) limit {
	rate, burst := e.ClicksPerSecond, e.Burst
	if burst < 0 || burst > MaxRate {
		m.add(memberBurst, fmt.Errorf("must be 1 to %d", MaxRate))
	}
	if rate == 0 {
		if burst != 0 && !m.told[memberRate] {
			m.add(memberBurst, errors.New("needs clicks_per_second"))
		}
		return limit{}
	}
	if math.IsNaN(rate) || rate < MinRate || rate > MaxRate {
		m.add(memberRate, fmt.Errorf("must be %g to %d", MinRate, MaxRate))
		return limit{}
	}
	return limit{each: time.Duration(float64(time.Second) / rate), burst: e.Most()}
}

// Most is how many clicks the key may send at once; 0: as many as it likes.
func (e *Entry) Most() int {
	if e.Burst != 0 || e.ClicksPerSecond == 0 {
		return e.Burst
	}
	return max(defaultBurst, int(math.Ceil(e.ClicksPerSecond)))
}

// secretPath is where the signing secret of an entry lies.
func (e *Entry) secretPath(file string) string {
	if filepath.IsAbs(e.HMACSecretFile) {
		return e.HMACSecretFile
	}
	return filepath.Join(filepath.Dir(file), e.HMACSecretFile)
}
