package watchcmd

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/linkpulse/linkpulse/pkg/client"
)

// ErrDenied says that the token covers none of the links.
var ErrDenied = errors.New("the token covers none of these links")

// lines prints changes one by one: counts to Stdout; to people, what becomes of the connection to Stderr.
func (c *Cmd) lines(env Env, changes <-chan change) error {
	shown, told := 0, ""
	denied := make(map[string]bool)
	for ch := range changes {
		var err error
		switch {
		case ch.err != nil:
			return ch.err
		case ch.update.Link == "":
			told, err = c.printState(env, ch.state, told)
		case ch.update.Status == client.LinkDenied:
			if !denied[ch.update.Link] {
				denied[ch.update.Link] = true
				err = c.printDenied(env, ch.update.Link)
			}
		case ch.update.Known && ch.update.Status == client.LinkLive:
			delete(denied, ch.update.Link)
			if err = c.printUpdate(env.Stdout, ch.update); err == nil {
				shown++
			}
		}
		if err != nil {
			return fmt.Errorf("printing: %w", err)
		}
		if c.Count > 0 && shown >= c.Count {
			return nil
		}
		if c.Count > 0 && len(denied) == len(newBoard(c.Links).links) {
			return ErrDenied // and whoever waits for changes would wait for ever
		}
	}
	return nil
}

// updateLine is a line of --json about a link.
type updateLine struct {
	Type  string `json:"type"` // "update"
	Link  string `json:"link"`
	Count int64  `json:"count"`
	Delta int64  `json:"delta"`
	Bots  int64  `json:"bots"`
	Epoch int64  `json:"epoch"`
	Seq   int64  `json:"seq"`
	At    int64  `json:"at,omitempty"` // Unix milliseconds
	Shown int64  `json:"shown_at"`     // Unix milliseconds, of this machine
}

// deniedLine is a line of --json about a link that the token does not cover.
type deniedLine struct {
	Type string `json:"type"` // "denied"
	Link string `json:"link"`
}

// stateLine is a line of --json about the connection.
type stateLine struct {
	Type    string `json:"type"` // "state"
	State   string `json:"state"`
	Reason  string `json:"reason,omitempty"`
	Gateway string `json:"gateway,omitempty"`
	URL     string `json:"url,omitempty"`
	LagMs   int64  `json:"lag_ms"`
	// ExpiresAt is when the token ends, in Unix milliseconds; TokenProblem why there is no other one yet.
	ExpiresAt    int64  `json:"expires_at,omitempty"`
	TokenProblem string `json:"token_problem,omitempty"`
}

func (c *Cmd) printUpdate(w io.Writer, u client.Update) error {
	now := time.Now()
	if c.JSON {
		line := updateLine{
			Type: "update", Link: u.Link, Count: u.Count, Delta: u.Delta, Bots: u.Bots, Epoch: u.Epoch, Seq: u.Seq, Shown: now.UnixMilli(),
		}
		if !u.At.IsZero() {
			line.At = u.At.UnixMilli()
		}
		return json.NewEncoder(w).Encode(line)
	}
	_, err := fmt.Fprintf(w, "%s  %s  %s  %+d  bots %s\n", now.Format("15:04:05.000"), u.Link, group(u.Count), u.Delta, group(u.Bots))
	return err
}

func (c *Cmd) printDenied(env Env, link string) (err error) {
	if c.JSON {
		return json.NewEncoder(env.Stdout).Encode(deniedLine{Type: "denied", Link: link})
	}
	_, err = fmt.Fprintf(env.Stderr, "%s: denied, your token does not cover it\n", link)
	return err
}

// printState tells of the connection. Heartbeats, which change nothing but the lag, are for programs only: people are told
// what is not what they were told last. It returns that.
func (c *Cmd) printState(env Env, s client.State, told string) (string, error) {
	if c.JSON {
		line := stateLine{
			Type: "state", State: s.Phase.String(), Reason: s.Reason, Gateway: s.Gateway, URL: s.URL, LagMs: s.Lag.Milliseconds(),
			TokenProblem: s.TokenProblem,
		}
		if !s.ExpiresAt.IsZero() {
			line.ExpiresAt = s.ExpiresAt.UnixMilli()
		}
		return told, json.NewEncoder(env.Stdout).Encode(line)
	}
	text := describe(s, time.Now()) + tokenText(s)
	if text == told {
		return told, nil
	}
	_, err := fmt.Fprintln(env.Stderr, text)
	return text, err
}

// describe says in a line how the connection is, without what changes all the time.
func describe(s client.State, now time.Time) string {
	text := s.Phase.String()
	switch s.Phase {
	case client.PhaseLive:
		return text + ": " + s.Gateway
	case client.PhaseStale, client.PhaseClosed:
		if s.Reason != "" {
			text += ": " + s.Reason
		}
	case client.PhaseReconnecting:
		text += ": " + s.Reason
		if wait := s.RetryAt.Sub(now); wait > 0 {
			text += fmt.Sprintf("; again in %.1f s", wait.Seconds())
		}
	case client.PhaseConnecting:
		text += " to " + s.URL
	case client.PhaseIdle:
	}
	return text
}

// tokenText says what is wrong with the token, empty where nothing is.
func tokenText(s client.State) string {
	if s.TokenProblem == "" {
		return ""
	}
	return "; the token ends at " + s.ExpiresAt.Local().Format("15:04:05") + ": " + s.TokenProblem
}

// group writes a number with separators between its thousands.
func group(n int64) string {
	s := strconv.FormatInt(n, 10)
	sign := ""
	if n < 0 {
		sign, s = "-", s[1:]
	}
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return sign + s
}
