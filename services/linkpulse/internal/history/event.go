package history

import (
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/linkpulse/linkpulse/pkg/click"
)

// Kind says what happened.
type Kind uint8

// The kinds of events. Acked and Unknown concern clicks; the others concern dashboards.
const (
	// Sent: a request with the click (Link, ID) goes out, for the first time or again.
	Sent Kind = iota + 1
	// Acked: ingest answered that the click (Link, ID) was accepted.
	Acked
	// Unknown: the click (Link, ID) was sent and the answer was an error or never came. It may count or not, but not twice.
	Unknown
	// Watch: the dashboard Client wants Link from now on.
	Watch
	// Unwatch: the dashboard Client no longer wants Link.
	Unwatch
	// Subscribed: the gateway told Connection the Count of Link in answer to a subscribe.
	Subscribed
	// Unsubscribed: the gateway told Connection that Link is no longer followed.
	Unsubscribed
	// Update: the gateway told Connection that Link grew by Delta to Count.
	Update
	// Heartbeat: the gateway told Connection that its counts are complete up to CompleteTo. Not to be recorded of a
	// connection that asked for a pace: what it is told may wait.
	Heartbeat
	// Shown: the dashboard Client now shows Count for Link.
	Shown
	// Read: somebody asked Gateway, or a store of that name, for the Count of Link and was told it outside any connection.
	Read
)

var kindNames = [...]string{"", "sent", "acked", "unknown", "watch", "unwatch", "subscribed", "unsubscribed", "update", "heartbeat", "shown", "read"} //nolint:gochecknoglobals // a table that nothing changes

// String returns the name of the kind.
func (k Kind) String() string {
	if int(k) >= len(kindNames) || k == 0 {
		return fmt.Sprintf("kind %d", uint8(k))
	}
	return kindNames[k]
}

// MarshalText writes the name of the kind.
func (k Kind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// Event is one thing that a client saw. Which fields carry a meaning depends on Kind; the others are zero.
type Event struct {
	At         time.Time   // when, by the recorder's clock
	Kind       Kind        // what
	Link       string      // always but in a Heartbeat
	ID         click.ID    // clicks: the event id
	Client     string      // dashboards: which one; unique in a history
	Gateway    string      // told: who said it; for people only
	Connection string      // told: on which connection; unique in a history, a reconnect is another one
	Count      click.Count // told and shown
	Delta      int64       // Update: what the message says was added
	CompleteTo time.Time   // Heartbeat: the watermark
}

// String formats the event for a report.
func (e Event) String() string {
	switch e.Kind {
	case Sent, Acked, Unknown:
		return fmt.Sprintf("%s click %s on %q", e.Kind, e.ID, e.Link)
	case Watch, Unwatch:
		return fmt.Sprintf("%s of %q by dashboard %s", e.Kind, e.Link, e.Client)
	case Shown:
		return fmt.Sprintf("dashboard %s shows %s", e.Client, reading(e.Link, e.Count))
	case Read:
		return fmt.Sprintf("%s answers %s", e.Gateway, reading(e.Link, e.Count))
	case Heartbeat:
		return fmt.Sprintf("heartbeat complete to %s on connection %s (dashboard %s, gateway %s)",
			e.CompleteTo.Format(time.StampMilli), e.Connection, e.Client, e.Gateway)
	default:
		return fmt.Sprintf("%s delta %d on connection %s (dashboard %s, gateway %s): %s",
			e.Kind, e.Delta, e.Connection, e.Client, e.Gateway, reading(e.Link, e.Count))
	}
}

func reading(link string, c click.Count) string {
	return fmt.Sprintf("%q = %d (%d bots) at epoch %d, seq %d", link, c.Count, c.Bots, c.Epoch, c.Seq)
}

// Recorder takes down events in the order in which it is told of them. The zero value is ready; it is safe for
// concurrent use. Events of one connection or one dashboard must come from one goroutine, in the order in which they
// happened: that order is what is judged.
type Recorder struct {
	mu     sync.Mutex // guards events
	events []Event
}

// Add records e, stamped with the time of now.
func (r *Recorder) Add(e Event) {
	e.At = time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e)
}

// Sent records that a request with a click goes out. Where it is told of every one, copies in the log that no client
// asked for are found.
func (r *Recorder) Sent(link string, id click.ID) { r.Add(Event{Kind: Sent, Link: link, ID: id}) }

// Acked records that a click was acknowledged.
func (r *Recorder) Acked(link string, id click.ID) { r.Add(Event{Kind: Acked, Link: link, ID: id}) }

// Unknown records that a click was sent and nobody knows what became of it.
func (r *Recorder) Unknown(link string, id click.ID) {
	r.Add(Event{Kind: Unknown, Link: link, ID: id})
}

// Events returns a copy of what was recorded so far.
func (r *Recorder) Events() []Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Event(nil), r.events...)
}

// WriteEvents writes events as JSON lines, for a person or a script to look into after a failure.
func WriteEvents(w io.Writer, events []Event) error {
	type line struct {
		Event
		ID string `json:",omitempty"` // in the place of the event's, as people write it
	}
	enc := json.NewEncoder(w)
	for i, e := range events {
		l := line{Event: e}
		if !e.ID.IsZero() {
			l.ID = e.ID.String()
		}
		if err := enc.Encode(l); err != nil {
			return fmt.Errorf("writing event %d of the history: %w", i, err)
		}
	}
	return nil
}
