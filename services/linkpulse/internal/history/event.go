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
	// Where who asks matters, Connection names the request, which was Admitted.
	Read
	// Admitted: the gateway let Connection in with Pass, for the first time or in the place of the one before.
	Admitted
	// Asked: Connection is about to ask for Link, in its subscribe of the number Request, from 1 on.
	Asked
	// Denied: Connection was told that Link is denied, in the answer to its subscribe of the number Request. All that one
	// answer denies is recorded before anything else of the connection.
	Denied
	// Syncing: Connection was told that it is subscribed to Link, whose count follows.
	Syncing
	// Revoked: from now on Gateway has to know of Revocation.
	Revoked
	// Restored: the store of tickets has come back as it was a while ago.
	Restored
)

//nolint:gochecknoglobals // a table that nothing changes
var kindNames = [...]string{
	"", "sent", "acked", "unknown", "watch", "unwatch", "subscribed", "unsubscribed", "update", "heartbeat", "shown", "read",
	"admitted", "asked", "denied", "syncing", "revoked", "restored",
}

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
	Link       string      // where it is about one
	ID         click.ID    // clicks: the event id
	Client     string      // dashboards: which one; unique in a history
	Gateway    string      // told: who said it; for people only
	Connection string      // told: on which connection; unique in a history, a reconnect is another one
	Count      click.Count // told and shown
	Delta      int64       // Update: what the message says was added
	CompleteTo time.Time   // Heartbeat: the watermark

	Pass       *Pass       `json:",omitempty"` // Admitted
	Revocation *Revocation `json:",omitempty"` // Revoked
	Request    int         `json:",omitempty"` // Asked and Denied
	Answer     string      `json:",omitempty"` // Denied: all that the gateway said of it but its name
	NotBefore  time.Time   // told: the gateway cannot have said it before then; zero: nothing is known of that
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
	case Admitted:
		return fmt.Sprintf("admitted with the pass %q (ticket %q) of %q on connection %s (gateway %s)",
			e.Pass.Token, e.Pass.Ticket, e.Pass.Subject, e.Connection, e.Gateway)
	case Asked, Denied:
		return fmt.Sprintf("%s: %q, in subscribe %d on connection %s (gateway %s): %s", e.Kind, e.Link, e.Request, e.Connection, e.Gateway, e.Answer)
	case Revoked:
		return fmt.Sprintf("gateway %s knows of the revocation %+v", e.Gateway, *e.Revocation)
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
