package apikey

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

func newKey(tb testing.TB, id string) Key {
	tb.Helper()
	k, err := New(id)
	if err != nil {
		tb.Fatal(err)
	}
	return k
}

func TestKeys(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for range 100 {
		k := newKey(t, "acme-1")
		again, err := Parse(k.Reveal())
		if err != nil || again != k || again.ID() != "acme-1" {
			t.Fatalf("%s is read as %s: %v", k.Reveal(), again.Reveal(), err)
		}
		if seen[k.Reveal()] || len(k.Reveal()) != len("lpk_acme-1_")+52 {
			t.Fatalf("%s", k.Reveal())
		}
		seen[k.Reveal()] = true
	}
	k, err := Parse("lpk_acme_" + strings.Repeat("A", 51) + "7")
	if err != nil {
		t.Fatal(err)
	}
	// As `printf %s SECRET | sha256sum` says.
	if h := k.Hash(); h != sha256.Sum256([]byte(strings.Repeat("A", 51)+"7")) {
		t.Errorf("hash %s", hex.EncodeToString(h[:]))
	}
}

func TestWhatIsNoKey(t *testing.T) {
	t.Parallel()
	secret := strings.Repeat("A", 52)
	for _, text := range []string{
		"", "lpk_", "lpk__", "lpk_acme", "lpk_acme_", "lpk_acme_" + secret[1:], "lpk_acme_" + secret + "A",
		"lpk__" + secret, "LPK_acme_" + secret, "lpk-acme_" + secret, "acme_" + secret, "lpk_acme" + secret,
		"lpk_Acme_" + secret, "lpk_-acme_" + secret, "lpk_ac me_" + secret, "lpk_acme:_" + secret, "lpk_a*_" + secret,
		"lpk_" + strings.Repeat("a", 33) + "_" + secret, "lpk_a_b_" + secret, "lpk_acme_" + strings.ToLower(secret),
		"lpk_acme_" + secret[:51] + "1", "lpk_acme_" + secret[:51] + "\n", "lpk_acme_" + secret + "\n", " lpk_acme_" + secret,
		"lpk_acme_" + secret[:50] + "é", "lpk_acme_" + secret[:51] + "\x00", "lpk_" + strings.Repeat("a", 1<<20) + "_" + secret,
	} {
		k, err := Parse(text)
		if err == nil || k != (Key{}) {
			t.Errorf("%.60q is %v", text, k)
		} else if strings.Contains(err.Error(), "AAAA") || strings.Contains(err.Error(), "acme") {
			t.Errorf("%.60q is repeated in %v", text, err)
		}
	}
	for _, id := range []string{"", "-a", "A", "a_b", "a.b", strings.Repeat("a", 33), "a\n", "\x1b[31m"} {
		if _, err := New(id); err == nil || id != "" && strings.Contains(err.Error(), id+" ") {
			t.Errorf("%q: %v", id, err)
		}
	}
	for _, id := range []string{"a", "0", "acme-2026-b", "a-", strings.Repeat("z", 32)} {
		newKey(t, id)
	}
}

// However somebody prints what has a secret, it is not there.
func TestNothingPrintsASecret(t *testing.T) {
	t.Parallel()
	k, s := newKey(t, "acme-1"), NewSecret()
	p := Presented{key: k}
	signer, err := NewSigner("acme-1", s)
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	core := zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), zapcore.AddSync(&log), zap.DebugLevel)
	options := struct {
		Key    Key
		Secret *Secret
		Shown  *Presented
		Signer *Signer
	}{k, s, &p, signer}
	for _, v := range []any{k, &k, s, p, &p, signer, options, &options, []Key{k}, map[string]Key{"a": k}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
			fmt.Fprintf(&log, verb+"\n", v)
		}
		zap.New(core).Info("credentials", zap.Any("value", v))
	}
	for _, secret := range []string{k.secret, k.secret[:8], k.secret[44:], s.text, s.text[:12], s.text[48:]} {
		if strings.Contains(log.String(), secret) {
			t.Fatalf("%q is in\n%s", secret, log.String())
		}
	}
	if !strings.Contains(k.String(), "acme-1") {
		t.Errorf("%s does not name the key", k)
	}
}
