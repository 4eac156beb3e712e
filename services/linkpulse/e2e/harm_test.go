package e2e

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/linkpulse/linkpulse/pkg/click"
	"github.com/linkpulse/linkpulse/pkg/wire"
)

// flows holds that the dashboards are told of new clicks while something is wrong with the totals.
func (f *fleet) flows(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	for _, d := range f.dashboards {
		had := d.count(f.links[0])
		err := d.await(ctx, func(shown map[string]click.Count, _ string) bool { return shown[f.links[0]].Count > had })
		if err != nil {
			t.Errorf("no live counts: %v", err)
		}
	}
}

// refuse holds that Redis refuses tallies with an error while it does so.
func (f *fleet) refuse(t *testing.T, with string) {
	t.Helper()
	waitFor(t, "a tally is refused with "+with, func() bool {
		return slices.ContainsFunc(f.tallies, func(p *process) bool { return p.said(with) })
	})
	f.flows(t)
}

// demoteRedis: a Redis that is made a replica refuses every write, until it is the master again.
func (f *fleet) demoteRedis(t *testing.T) {
	f.redis.Demote(t)
	f.refuse(t, "READONLY")
	f.redis.Promote(t)
}

// starveRedis: a Redis that may use no more memory, and evicts nothing, refuses every write.
func (f *fleet) starveRedis(t *testing.T) {
	f.redis.Starve(t)
	f.refuse(t, "OOM")
	f.redis.Feed(t)
}

// slowRedis: every call of Redis takes four seconds, which is longer than anybody waits.
func (f *fleet) slowRedis(t *testing.T) {
	for _, l := range f.lines {
		l.slow(2 * time.Second)
	}
	f.flows(t)
	pause(t.Context(), 6*time.Second)
	f.flows(t)
	for _, l := range f.lines {
		l.slow(0)
	}
}

// moment is when, in an exchange with Redis, a tally is killed.
type moment string

const (
	beforeRequest moment = "before Redis has the request"
	beforeAnswer  moment = "before the tally has the answer"
	afterAnswer   moment = "when the tally has the answer"
)

// trap kills a process at a moment of its n-th exchange with Redis that is about totals.
type trap struct {
	at     moment
	n      int
	target *process
	sprung chan string // gets what the exchange was

	mu   sync.Mutex // guards what follows
	seen int
	what string // of the exchange that is under way and to be the last; empty: it is to come
}

// tap is for [line.listen].
func (k *trap) tap(in lineWay, b []byte) (pass bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if in == request && k.what == "" {
		for _, command := range []string{"EVALSHA", "EVAL", "HMGET", "HGET"} {
			if bytes.Contains(b, []byte(command)) {
				if k.seen++; k.seen == k.n {
					k.what = command
				}
				break
			}
		}
		if k.what != "" && k.at == beforeRequest {
			k.kill()
			return false
		}
	}
	if in == answer && k.what != "" {
		k.kill()
		return k.at == afterAnswer
	}
	return true
}

// kill springs the trap once. With the answer on its way, the process dies in the moment in which it gets it.
func (k *trap) kill() {
	_ = k.target.cmd.Process.Kill()
	select {
	case k.sprung <- k.what:
	default:
	}
}

// killTallyEverywhere kills a tally in each of its first exchanges with Redis, before, within and after it: all that it
// changes in the world it changes there, so to whoever looks from outside it was killed at every line of its fold.
func (f *fleet) killTallyEverywhere(t *testing.T) {
	f.tallies[1].end(t)
	defer f.tallies[1].start(t)
	tally := f.tallies[0]
	tally.kill()
	at := make(map[string]int)
	for n := 1; n <= 8; n++ {
		for _, m := range []moment{beforeRequest, beforeAnswer, afterAnswer} {
			k := &trap{at: m, n: n, target: tally, sprung: make(chan string, 1)}
			f.lines[0].listen(k.tap)
			f.evict(t)
			tally.launch(t)
			select {
			case what := <-k.sprung:
				at[strings.TrimSuffix(what, "SHA")]++
			case <-time.After(healed):
				t.Fatalf("the tally has no exchange %d with redis", n)
			}
			f.lines[0].listen(nil)
			tally.kill()
		}
	}
	if at["EVAL"] < 3 {
		t.Errorf("killed at %v: too few of them apply a batch", at)
	}
	t.Logf("killed at %v", at)
	f.evict(t)
	tally.start(t)
}

// evict takes dead members out of the tallies' group, so that nobody waits for their sessions to end.
func (f *fleet) evict(t *testing.T) {
	t.Helper()
	client := f.kafka.Client(t)
	const group = "linkpulse-tally"
	describe := kmsg.NewPtrDescribeGroupsRequest()
	describe.Groups = []string{group}
	leave := kmsg.NewPtrLeaveGroupRequest()
	leave.Group = group
	for _, shard := range client.RequestSharded(t.Context(), describe) {
		if shard.Err != nil {
			t.Fatal(shard.Err)
		}
		for _, g := range shard.Resp.(*kmsg.DescribeGroupsResponse).Groups {
			for _, m := range g.Members {
				member := kmsg.NewLeaveGroupRequestMember()
				member.MemberID = m.MemberID
				leave.Members = append(leave.Members, member)
			}
		}
	}
	if len(leave.Members) == 0 {
		return
	}
	if _, err := leave.RequestWith(t.Context(), client); err != nil {
		t.Fatal(err)
	}
}

// rollBound is how long a gateway may take to send its dashboards away.
const rollBound = 10 * time.Second

// replace is a rolling upgrade as a visitor and a dashboard see it: the other ingest takes over while one is replaced,
// whoever draws a 503 is told when to come again and nothing else is ever answered, and a gateway says goodbye and closes
// with 1012.
func (f *fleet) replace(t *testing.T) {
	f.twins[0].start(t)
	answers := make(chan map[string]int)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { answers <- f.postThrough(ctx, t, f.ingest, f.twins[0]) }()
	for _, g := range f.gateways {
		f.seeOff(t, g)
	}
	for _, p := range slices.Concat(f.tallies, []*process{f.ingest, f.twins[0]}) {
		p.end(t)
		p.start(t)
	}
	cancel()
	got := <-answers
	t.Logf("answers of ingest: %v", got)
	for status := range got {
		if status != "202" && status != "503 with Retry-After" && status != "no connection" {
			t.Errorf("ingest answered %s while it was replaced", status)
		}
	}
	if got["202"] == 0 {
		t.Error("nothing was acknowledged")
	}
	f.twins[0].end(t)
}

// postThrough is a visitor behind a load balancer: it posts a click to one ingest after the other until one of them has
// acknowledged it, and counts the answers. It goes on until ctx ends.
func (f *fleet) postThrough(ctx context.Context, t *testing.T, ingests ...*process) map[string]int {
	answers := make(map[string]int)
	var dialer net.Dialer
	v := newVisitor(nil, dialer.DialContext, &f.recorder, 15)
	defer v.close()
	for ctx.Err() == nil {
		c, id := v.newClick(f.links[0])
		body := fmt.Sprintf(`{"link":%q,"id":%q,"bot":%v}`, c.Link, c.ID, c.Bot)
		for at := 0; ; at++ {
			f.recorder.Sent(c.Link, id)
			status := status(t, v.client, ingests[at%len(ingests)].url(), body)
			answers[status]++
			if status == "202" {
				f.recorder.Acked(c.Link, id)
				break
			}
			f.recorder.Unknown(c.Link, id)
			pause(t.Context(), 20*time.Millisecond)
			if at == 1000 {
				t.Error("a click was never taken")
				return answers
			}
		}
		pause(t.Context(), 5*time.Millisecond)
	}
	return answers
}

// status posts a click and says what came of it.
func status(t *testing.T, client *http.Client, ingest, body string) string {
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, ingest+"/v1/clicks", strings.NewReader(body))
	if err != nil {
		t.Error(err)
		return ""
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		return "no connection"
	}
	_ = resp.Body.Close()
	status := strconv.Itoa(resp.StatusCode)
	if resp.Header.Get("Retry-After") != "" {
		status += " with Retry-After"
	}
	return status
}

// seeOff tells a gateway to end, watches how a dashboard is sent away, and starts it again.
func (f *fleet) seeOff(t *testing.T, gateway *process) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	opts := websocket.DialOptions{HTTPHeader: f.credential.header()}
	ws, _, err := websocket.Dial(ctx, "ws"+strings.TrimPrefix(gateway.url(), "http")+"/ws", &opts) //nolint:bodyclose // Dial leaves no body to close
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ws.CloseNow() }()
	if _, _, err := ws.Read(ctx); err != nil { // it is ready
		t.Fatal(err)
	}
	closed := make(chan error, 1)
	go func() {
		saidGoodbye := false
		for {
			_, b, err := ws.Read(ctx)
			if err != nil {
				if websocket.CloseStatus(err) != websocket.StatusServiceRestart || !saidGoodbye {
					err = fmt.Errorf("it was closed with %w, said goodbye: %v", err, saidGoodbye)
				} else {
					err = nil
				}
				closed <- err
				return
			}
			if m, err := wire.DecodeServer(b); err == nil {
				if bye, ok := m.(wire.Goodbye); ok {
					saidGoodbye = bye.Reason == wire.ReasonDrain
				}
			}
		}
	}()
	begun := time.Now()
	gateway.end(t)
	if err := <-closed; err != nil {
		t.Errorf("a dashboard of %s: %v", gateway.name, err)
	}
	if took := time.Since(begun); took > rollBound {
		t.Errorf("%s took %v to end", gateway.name, took)
	}
	gateway.start(t)
}

// tenfold is how many visitors there are in a burst, ten times as many as otherwise.
const tenfold = 30

// producerDeadline is how long ingest tries to append a click before it answers that it could not.
const producerDeadline = 30 * time.Second

// tenTimes: there is ten times the load for a while. Everybody gets an answer in time, which may be to come again, and
// what was taken counts.
func (f *fleet) tenTimes(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), *burstFor)
	defer cancel()
	var mu sync.Mutex
	answers, worst := make(map[string]int), time.Duration(0)
	var dialer net.Dialer
	var visitors sync.WaitGroup
	for i := range tenfold - 3 {
		visitors.Go(func() {
			v := newVisitor(nil, dialer.DialContext, &f.recorder, uint64(i))
			defer v.close()
			for ctx.Err() == nil {
				c, id := v.newClick(f.links[v.rng.IntN(len(f.links))])
				f.recorder.Sent(c.Link, id)
				begun := time.Now()
				status := status(t, v.client, f.ingest.url(), fmt.Sprintf(`{"link":%q,"id":%q,"bot":%v}`, c.Link, c.ID, c.Bot))
				took := time.Since(begun)
				if status == "202" {
					f.recorder.Acked(c.Link, id)
				} else {
					f.recorder.Unknown(c.Link, id)
				}
				mu.Lock()
				answers[status]++
				worst = max(worst, took)
				mu.Unlock()
				pause(ctx, time.Second/60-took)
			}
		})
	}
	visitors.Wait()
	t.Logf("answers in %v: %v, the slowest after %v", *burstFor, answers, worst.Round(time.Millisecond))
	for status := range answers {
		if status != "202" && status != "503 with Retry-After" {
			t.Errorf("ingest answered %s in a burst", status)
		}
	}
	if worst > producerDeadline+time.Second {
		t.Errorf("an answer took %v", worst)
	}
}
