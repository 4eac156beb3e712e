package watchcmd

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
	"charm.land/lipgloss/v2"

	"github.com/linkpulse/linkpulse/pkg/client"
)

// tickEvery is how often ages, rates and fading deltas are drawn anew.
const tickEvery = 200 * time.Millisecond

// table draws the board until a key, ctx or the number of changes ends it. stop ends the source of changes.
func (c *Cmd) table(ctx context.Context, env Env, changes <-chan change, stop context.CancelFunc) error {
	m := &model{board: newBoard(c.Links), most: c.Count, now: time.Now()}
	opts := []tea.ProgramOption{
		tea.WithContext(ctx), tea.WithInput(env.Stdin), tea.WithOutput(env.Stdout),
		tea.WithEnvironment(env.Environ), tea.WithoutSignalHandler(),
	}
	if env.Width > 0 {
		opts = append(opts, tea.WithWindowSize(env.Width, env.Height))
	}
	p := tea.NewProgram(m, opts...)
	fed := make(chan struct{})
	go func() {
		defer close(fed)
		for ch := range changes {
			p.Send(ch)
		}
		p.Send(tea.QuitMsg{})
	}()
	_, err := p.Run()
	stop()
	<-fed
	if errors.Is(err, tea.ErrProgramKilled) && ctx.Err() != nil {
		err = nil
	}
	return errors.Join(m.err, err)
}

// model is the program's state, in the way of its library. Its methods are called by one goroutine.
type model struct {
	board  *board
	most   int // end after so many changes, 0: never
	now    time.Time
	width  int // of the terminal, 0: not known
	height int
	err    error
}

// tickMsg says what time it is.
type tickMsg time.Time

func tick() tea.Cmd { return tea.Tick(tickEvery, func(t time.Time) tea.Msg { return tickMsg(t) }) }

// Init starts the clock.
func (m *model) Init() tea.Cmd { return tick() }

// Update takes what happened.
func (m *model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tickMsg:
		m.now = time.Time(msg)
		return m, tick()
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
	case tea.KeyPressMsg:
		switch msg.String() {
		case "q", "esc", "ctrl+c":
			return m, tea.Quit
		}
	case change:
		m.now = time.Now()
		switch {
		case msg.err != nil:
			m.err = msg.err
			return m, tea.Quit
		case msg.update.Link == "":
			m.board.state = msg.state
		default:
			m.board.apply(msg.update, m.now)
			if m.most > 0 && m.board.shown >= m.most {
				return m, tea.Quit
			}
		}
	}
	return m, nil
}

// View draws the board.
func (m *model) View() tea.View { return tea.NewView(m.board.render(m.width, m.height, m.now)) }

// The colours are of the terminal's own sixteen, so that they fit its theme; words say the same without them.
const (
	green   = "2"
	yellow  = "3"
	magenta = "5"
	red     = "1"
)

func coloured(text, colour string) string {
	return lipgloss.NewStyle().Foreground(lipgloss.Color(colour)).Render(text)
}

func faint(text string) string { return lipgloss.NewStyle().Faint(true).Render(text) }

// columns of the table after the link, and how wide each is.
const columns = " %14s  %-8s %12s %9s  %s"

// columnsWidth is how wide they are together.
const columnsWidth = 1 + 14 + 2 + 8 + 1 + 12 + 1 + 9 + 2 + 12

// render draws the board for a terminal of that size; 0 is not known.
func (b *board) render(width, height int, now time.Time) string {
	name := len("link")
	for _, link := range b.links {
		name = max(name, len(link))
	}
	if width > 0 {
		name = max(4, min(name, width-columnsWidth-1))
	}
	links, more, denied := b.links, 0, b.denied()
	if room := height - 4 - min(denied, 1); height > 0 && len(links) > room {
		room = max(1, room)
		links, more = links[:room], len(links)-room
	}
	lines := []string{b.statusLine(now), faint(pad("link", name) + fmt.Sprintf(columns, "clicks", "", "bots", "per s", "last"))}
	for _, link := range links {
		lines = append(lines, b.rowLine(b.rows[link], name, now))
	}
	if denied > 0 {
		lines = append(lines, coloured(deniedText(denied), yellow))
	}
	if more > 0 {
		lines = append(lines, faint(fmt.Sprintf("and %d more, for which the terminal is too low", more)))
	}
	return strings.Join(lines, "\n") + "\n"
}

func (b *board) statusLine(now time.Time) string {
	s := b.state
	text, colour := describe(s, now), magenta
	switch s.Phase {
	case client.PhaseLive:
		colour = green
		if !s.Heartbeat.IsZero() {
			text += fmt.Sprintf(", complete to %.1f s ago", max(0, s.Lag+now.Sub(s.Heartbeat)).Seconds())
		}
		if problem := tokenText(s); problem != "" {
			text, colour = text+problem, yellow
		}
	case client.PhaseStale:
		colour = yellow
	case client.PhaseClosed:
		colour = red
	case client.PhaseIdle, client.PhaseConnecting, client.PhaseReconnecting:
	}
	return coloured("● "+text, colour) + faint("   q quits")
}

// denied returns how many links the token does not cover.
func (b *board) denied() (n int) {
	for _, r := range b.rows {
		if r.update.Status == client.LinkDenied {
			n++
		}
	}
	return n
}

func deniedText(n int) string {
	if n == 1 {
		return "▲ one link is denied: your token does not cover it"
	}
	return fmt.Sprintf("▲ %d links are denied: your token does not cover them", n)
}

// rowLine draws a link. What is not live is faint: it is what was known last.
func (b *board) rowLine(r *row, name int, now time.Time) string {
	u := r.update
	if !u.Known {
		return faint(pad(u.Link, name) + fmt.Sprintf(columns, u.Status, "", "", "", ""))
	}
	count, bots := group(u.Count), group(u.Bots)
	last := ""
	if !u.At.IsZero() {
		last = age(now.Sub(u.At))
	}
	if u.Status != client.LinkLive || b.state.Phase != client.PhaseLive {
		return faint(pad(u.Link, name) + fmt.Sprintf(columns, count, "", bots, "", last))
	}
	delta := ""
	if r.delta != 0 && now.Sub(r.deltaAt) < fade {
		delta = fmt.Sprintf("%+d", r.delta)
	}
	text := pad(u.Link, name) + fmt.Sprintf(columns, count, delta, bots, rateText(r.rate(now)), last)
	if delta == "" {
		return text
	}
	shade := coloured(delta, green)
	if now.Sub(r.deltaAt) >= brightFade {
		shade = faint(delta)
	}
	at := len(pad(u.Link, name)) + 1 + max(14, len(count)) + 2
	return text[:at] + shade + text[at+len(delta):]
}

func rateText(r float64) string {
	if r == 0 {
		return ""
	}
	return fmt.Sprintf("%.1f", r)
}

// pad makes s exactly n wide, cut if it must be. Link ids are ASCII.
func pad(s string, n int) string {
	if len(s) > n {
		return s[:n-1] + "~"
	}
	return s + strings.Repeat(" ", n-len(s))
}

// age says how long ago something was.
func age(d time.Duration) string {
	switch d = max(0, d); {
	case d < 2*time.Second:
		return "now"
	case d < 2*time.Minute:
		return fmt.Sprintf("%d s ago", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%d min ago", int(d.Minutes()))
	default:
		return fmt.Sprintf("%d h ago", int(d.Hours()))
	}
}
