package client

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestClicksFitWhatIngestTakes(t *testing.T) {
	t.Parallel()
	bot := true
	id, err := NewID()
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 1, 31, 13, 0, 0, 250e6, time.FixedZone("", 3600))
	body, n, err := encode([]Click{
		{Link: "a", ID: id, At: at, Country: "DE", Bot: &bot, Referrer: "https://x/?a&b", UserAgent: "Mozilla/5.0 <x>"},
		{Link: "b", ID: id, Country: "T1", Referrer: strings.Repeat("é", 2000), UserAgent: "\xff" + strings.Repeat("u", 2000)},
	})
	if err != nil || n != 2 {
		t.Fatalf("%d encoded: %v", n, err)
	}
	lines := strings.Split(string(body), "\n")
	want := `{"link":"a","id":"` + id.String() + `","at":"2026-01-31T12:00:00.25Z","referrer":"https://x/?a&b",` +
		`"country":"DE","user_agent":"Mozilla/5.0 <x>","bot":true}`
	if lines[0] != want {
		t.Fatalf("encoded %s\nwant    %s", lines[0], want)
	}
	var c struct {
		Referrer  string
		UserAgent string `json:"user_agent"`
		Country   *string
	}
	if err := json.Unmarshal([]byte(lines[1]), &c); err != nil {
		t.Fatal(err)
	}
	if len(c.Referrer) != maxReferrer || len(c.UserAgent) != maxUserAgent || !strings.HasPrefix(c.UserAgent, "\ufffdu") || c.Country != nil {
		t.Fatalf("referrer %d bytes, user agent %d bytes, country %v", len(c.Referrer), len(c.UserAgent), c.Country)
	}
	if _, _, err := encode([]Click{{Link: "a"}}); !errors.Is(err, errZeroID) {
		t.Fatalf("a click without an id: %v", err)
	}
	many := slices.Repeat([]Click{{Link: "a", ID: id, UserAgent: strings.Repeat("\x01", maxUserAgent)}}, 1000)
	if body, n, err := encode(many); err != nil || n == 0 || n == 1000 || len(body) > maxBody {
		t.Fatalf("%d encoded into %d bytes: %v", n, len(body), err)
	}
}
