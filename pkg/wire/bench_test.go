package wire_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/linkpulse/linkpulse/pkg/wire"
)

// jsonUpdate is the update as encoding/json would write it: the measure that the encoder is held to.
type jsonUpdate struct {
	Type string `json:"type"`
	wire.Update
}

func update() wire.Update {
	return wire.Update{Link: "x7Kp2", Count: 1247, Delta: 4, Bots: 31, Seq: 88140, At: 1769860804250}
}

func BenchmarkUpdate(b *testing.B) {
	u := update()
	dst := make([]byte, 0, 512)
	b.Run("encoding-json", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := json.Marshal(jsonUpdate{wire.TypeUpdate, u}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("payload", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			dst = wire.AppendUpdate(dst[:0], u)
		}
	})
	b.Run("frame", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			dst = wire.AppendUpdateFrame(dst[:0], u)
		}
	})
	b.Run("shared", func(b *testing.B) { // what every further subscriber costs
		frame := wire.AppendUpdateFrame(nil, u)
		b.ReportAllocs()
		for b.Loop() {
			dst = append(dst[:0], frame...)
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	subscribe := wire.AppendClient(nil, wire.ClientMessage{
		Type: wire.TypeSubscribe, IntervalMs: wire.KeepInterval,
		Links: []string{"x7Kp2", "a3bZ9", "acme:one", "acme:two", "acme:three", "f", "g", "h", "i", "j"},
	})
	b.Run("client-subscribe-10", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := wire.DecodeClient(subscribe); err != nil {
				b.Fatal(err)
			}
		}
	})
	auth := wire.AppendClient(nil, wire.ClientMessage{Type: wire.TypeAuth, Token: strings.Repeat("a", 600)})
	for name, text := range map[string][]byte{"client-auth": auth, "client-auth-general": append(slices.Clone(auth), ' ')} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := wire.DecodeClient(text); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	text := wire.AppendUpdate(nil, update())
	b.Run("server-update", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := wire.DecodeServer(text); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkSubscribed(b *testing.B) {
	var m wire.Subscribed
	for range 100 {
		m.Links = append(m.Links, wire.LinkCount{Link: "x7Kp2", Count: 1243, Bots: 31, Seq: 88121})
	}
	dst := make([]byte, 0, 16<<10)
	b.ReportAllocs()
	for b.Loop() {
		dst = wire.AppendSubscribed(dst[:0], m)
	}
}
