package follower

import (
	"context"
	"testing"

	"pgregory.net/rapid"

	"github.com/linkpulse/linkpulse/pkg/click"
	"github.com/linkpulse/linkpulse/pkg/fold"
	"github.com/linkpulse/linkpulse/pkg/fold/feed/feedtest"
	"github.com/linkpulse/linkpulse/pkg/totals"
	"github.com/linkpulse/linkpulse/pkg/totals/totalstest"
)

// gatewayModel is the partition of one gateway, whose goroutines the model plays, and the answer of Redis that is on its
// way to it.
type gatewayModel struct {
	p     *partition
	asked []*Watched
	life  int
	sums  map[string]fold.Total
	at    At
	err   error
}

// viewer is a client that keeps the rules of PROTOCOL.md section 6 for one link: it shows what is newer than what it
// shows, on whichever gateway it is.
type viewer struct {
	at         int // index of its gateway; -1: none
	w          *Watched
	subscribed bool
	shown      click.Count
	shows      bool
}

func (v *viewer) Changed() {}

// resumeModel is two gateways, one Redis that loses what it had, and a viewer that goes from one to the other.
type resumeModel struct {
	ctx      context.Context
	redis    *totalstest.Redis
	totals   *totals.Epoch
	params   fold.Params
	topic    *feedtest.Topic
	end      int64
	restore  func()
	gateways [2]*gatewayModel
	viewer   viewer
}

func (m *resumeModel) append(t *rapid.T) {
	for range rapid.IntRange(1, 6).Draw(t, "records") {
		if rapid.IntRange(0, 9).Draw(t, "hole") == 0 {
			m.topic.Hole(0, 1)
			m.end++
		}
		m.topic.Append(0, clickRecord(m.end, rapid.SampledFrom([]string{"a", "b"}).Draw(t, "link"),
			byte(rapid.IntRange(0, 3).Draw(t, "id")), rapid.Bool().Draw(t, "bot")))
		m.end++
	}
}

func (m *resumeModel) pick(t *rapid.T) *gatewayModel {
	return m.gateways[rapid.IntRange(0, 1).Draw(t, "gateway")]
}

// fetch lets a gateway read on. What it does not read it lags behind.
func (m *resumeModel) fetch(t *rapid.T) {
	g := m.pick(t)
	m.readTo(g, rapid.Int64Range(g.p.fold.Position(), m.end).Draw(t, "to"))
}

func (m *resumeModel) readTo(g *gatewayModel, to int64) {
	g.p.apply(between(m.topic.Records(0), g.p.fold.Position(), to), to)
}

func (m *resumeModel) tally(t *rapid.T) {
	m.tallyTo(t, rapid.Int64Range(0, m.end).Draw(t, "to"))
}

func (m *resumeModel) tallyTo(t *rapid.T, to int64) {
	if err := totalstest.Tally(m.ctx, m.totals, m.topic, m.params, 0, to); err != nil {
		t.Fatal(err)
	}
}

func (m *resumeModel) backup(*rapid.T) { m.restore = m.redis.Backup() }

func (m *resumeModel) rollBack(t *rapid.T) {
	if m.restore == nil {
		t.Skip("there is no backup")
	}
	m.restore()
}

func (m *resumeModel) flush(*rapid.T) { m.redis.FlushAll() }

// ask reads totals for a gateway; they are on their way until the answer.
func (m *resumeModel) ask(t *rapid.T) {
	g := m.pick(t)
	if g.asked != nil {
		t.Skip("one read at a time")
	}
	m.read(g)
}

func (m *resumeModel) read(g *gatewayModel) {
	if g.asked, g.life = g.p.takeWaiting(maxAsked); g.asked == nil {
		return
	}
	names := make([]string, len(g.asked))
	for i, w := range g.asked {
		names[i] = w.link
	}
	g.sums, g.at, g.err = fromRedis{m.totals}.Totals(m.ctx, 0, names)
}

func (m *resumeModel) answer(t *rapid.T) {
	g := m.pick(t)
	if g.asked == nil {
		t.Skip("nothing was asked")
	}
	m.land(g)
}

func (m *resumeModel) land(g *gatewayModel) {
	switch {
	case g.asked == nil:
	case g.err != nil:
		g.p.askAgain(g.asked)
	default:
		g.p.land(g.asked, g.life, g.sums, g.at.Next)
	}
	g.asked = nil
}

// crash starts a gateway anew. Its viewer loses the connection.
func (m *resumeModel) crash(t *rapid.T) {
	i := rapid.IntRange(0, 1).Draw(t, "gateway")
	if m.viewer.at == i {
		m.viewer.at, m.viewer.w = -1, nil
	}
	m.gateways[i] = m.newGateway(t)
}

func (m *resumeModel) newGateway(t interface{ Fatal(args ...any) }) *gatewayModel {
	g := &gatewayModel{p: alone(t, m.params.Window)}
	g.p.begin(startAt(0, m.end, m.params.Window))
	return g
}

// resume makes the viewer subscribe, at the same gateway or at another.
func (m *resumeModel) resume(t *rapid.T) {
	v := &m.viewer
	if v.w != nil {
		v.w.Release(v)
	}
	v.at = rapid.IntRange(0, 1).Draw(t, "gateway")
	v.w, v.subscribed = m.gateways[v.at].p.watch("a", v), false
}

// check holds what gateways say and what the viewer shows against the log.
func (m *resumeModel) check(t *rapid.T) {
	log := m.topic.Records(0)
	v := &m.viewer
	if v.w == nil {
		return
	}
	r, ok := v.w.Read()
	if !ok {
		return
	}
	if want := truth(log, m.params.Window, r.Seq)["a"]; want.Count != r.Count.Count || want.Bots != r.Bots {
		t.Fatalf("gateway %d says %+v, the log says %+v", v.at, r, want)
	}
	before := v.shown
	if takes := r.Newer(v.shown) || !v.subscribed && r.Seq == v.shown.Seq || !v.shows; takes {
		v.shown, v.shows = r.Count, true
	}
	v.subscribed = true
	if v.shown.Count < before.Count || v.shown.Bots < before.Bots || v.shown.Seq < before.Seq {
		t.Fatalf("the viewer showed %+v and now %+v", before, v.shown)
	}
	m.checkRecent(t, r.Seq, log)
}

// checkRecent brings a number that is true anywhere to where the gateway is.
func (m *resumeModel) checkRecent(t *rapid.T, seq int64, log []fold.Record) {
	from := rapid.Int64Range(0, m.end).Draw(t, "recent from")
	sum := truth(log, m.params.Window, from)["a"]
	r, to, ok := m.viewer.w.Recent(from, func(timeMs int64, bot bool) { sum.Add(bot, timeMs) })
	if want := truth(log, m.params.Window, to)["a"]; !ok || sum != want || r.Seq != seq {
		t.Fatalf("from %d to %d: %+v, %v; want %+v", from, to, sum, ok, want)
	}
	p := m.viewer.w.p
	if reached := from >= p.floor() && from <= p.fold.Position(); reached && to != p.fold.Position() {
		t.Fatalf("recent clicks from %d end at %d, the position is %d", from, to, p.fold.Position())
	}
}

// Two gateways that lag and crash, a Redis that rolls back or is flushed, a viewer that goes from one gateway to the
// other: what a gateway says is the fold of the log, what the viewer shows never goes back, and when all is well again it
// shows the count at the end of the log.
func TestResumeOnAnyGateway(t *testing.T) {
	t.Parallel()
	redis := totalstest.New(t)
	store := redis.Open(t)
	for range 5 { // a hundred runs each
		rapid.Check(t, func(rt *rapid.T) { checkResume(t.Context(), rt, redis, store) })
	}
}

func checkResume(ctx context.Context, rt *rapid.T, redis *totalstest.Redis, store *totals.Store) {
	redis.FlushAll()
	params := configOf(rapid.Int64Range(1, 5).Draw(rt, "D")).Fold
	m := &resumeModel{
		ctx: ctx, redis: redis, totals: store.Epoch(3, totals.RuleOf(params)), params: params,
		topic: feedtest.New(1), viewer: viewer{at: -1},
	}
	for range rapid.IntRange(0, 4).Draw(rt, "before the start") {
		m.append(rt)
	}
	for i := range m.gateways {
		m.gateways[i] = m.newGateway(rt)
	}
	rt.Repeat(map[string]func(*rapid.T){
		"append": m.append, "fetch": m.fetch, "ask": m.ask, "answer": m.answer, "resume": m.resume, "crash": m.crash,
		"answer at once":   func(t *rapid.T) { m.ask(t); m.answer(t) },
		"tally":            m.tally,
		"tally to now":     func(t *rapid.T) { m.tallyTo(t, m.end) },
		"redis backs up":   m.backup,
		"redis rolls back": m.rollBack,
		"redis is flushed": m.flush,
		"":                 m.check,
	})
	m.heal(rt)
}

// heal ends all faults and lets everything that is due happen.
func (m *resumeModel) heal(t *rapid.T) {
	m.resume(t)
	m.tallyTo(t, m.end)
	g := m.gateways[m.viewer.at]
	m.land(g)
	m.readTo(g, m.end)
	m.read(g)
	m.land(g)
	m.check(t)
	if want := truth(m.topic.Records(0), m.params.Window, m.end)["a"]; !m.viewer.shows ||
		m.viewer.shown.Count != want.Count || m.viewer.shown.Bots != want.Bots {
		t.Fatalf("after the heal the viewer shows %+v, the log says %+v", m.viewer.shown, want)
	}
}
