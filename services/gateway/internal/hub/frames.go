package hub

import (
	"encoding/binary"
	"encoding/hex"
	"hash/maphash"

	"github.com/linkpulse/linkpulse/pkg/wire"
)

// scratch is what a loop reuses between writes.
type scratch struct {
	gather  []byte   // one write
	payload []byte   // one message before it is framed
	lanes   [][]byte // empty control lanes
	covered []string // of a subscribe
	denied  []string // the others; or what a refresh withdraws
	syncing []string
	known   []wire.LinkCount

	arena   []byte // encoded updates of this and earlier turns
	arenaNo uint64 // number of the arena's current filling
	beat    []byte // heartbeat and ping
	beatAt  int64  // the turn that beat was encoded for
}

// arenaSize is when the arena starts anew: a thousand links' updates. Frames are copied into the gathered write at once, so
// nobody holds on to it.
const arenaSize = 128 << 10

// frame returns the update of a topic for those who were told the count told last. It is encoded once per reading and
// told, and shared: usually all subscribers were told the same.
func (l *loop) frame(t *topic, told int64) []byte {
	sc := &l.scratch
	r := &t.reading
	if t.frameArena == sc.arenaNo && t.frameTold == told && t.frameSeq == r.Seq {
		return sc.arena[t.frame.from:t.frame.to]
	}
	if len(sc.arena) > arenaSize || sc.arenaNo == 0 {
		sc.arena = sc.arena[:0]
		sc.arenaNo++
	}
	from := len(sc.arena)
	sc.arena = wire.AppendUpdateFrame(sc.arena, wire.Update{
		Link: t.link, Count: r.Count, Delta: r.Count - told, Bots: r.Bots, Seq: r.Seq, At: r.At,
	})
	t.frame = frameRef{from: from, to: len(sc.arena)}
	t.frameArena, t.frameTold, t.frameSeq = sc.arenaNo, told, r.Seq
	return sc.arena[from:]
}

// appendAnswer appends the `subscribed` for all subscriptions that ask for one, and makes them live: what it states is
// what they were told. Totals that are not there are listed as syncing, and come in a `subscribed` of their own.
func (l *loop) appendAnswer(dst []byte, s *Session, denied []string) []byte {
	sc := &l.scratch
	sc.known, sc.syncing = sc.known[:0], sc.syncing[:0]
	for i := range s.subs {
		u := &s.subs[i]
		if u.told != asked {
			continue
		}
		t := l.topics[u.topic]
		if !t.known {
			u.told = syncing
			sc.syncing = append(sc.syncing, t.link)
			continue
		}
		// The count at its newest place in the log: a client that has seen more elsewhere would discard an older one.
		if r, ok := t.watched.Read(); ok {
			t.reading = r
		}
		u.told = t.reading.Count
		sc.known = append(sc.known, wire.LinkCount{
			Link: t.link, Count: t.reading.Count, Bots: t.reading.Bots, Seq: t.reading.Seq,
		})
	}
	s.unknown, s.graceAt = 0, 0
	s.flags &^= answerDue
	sc.payload = wire.AppendSubscribed(sc.payload[:0], wire.Subscribed{Links: sc.known, Denied: denied, Syncing: sc.syncing})
	clear(sc.known)
	clear(sc.syncing)
	return l.appendText(dst, frameSubscribed)
}

func (l *loop) appendUnsubscribed(dst []byte, links []string, reason string) []byte {
	l.scratch.payload = wire.AppendUnsubscribed(l.scratch.payload[:0], wire.Unsubscribed{Links: links, Reason: reason})
	return l.appendText(dst, frameUnsubscribed)
}

func (l *loop) appendReady(dst []byte, s *Session) []byte {
	ready := wire.Ready{
		Protocol: wire.Protocol, Connection: l.nameOf(s), Gateway: l.hub.cfg.Gateway,
		HeartbeatMs: l.hub.beatEvery, Epoch: l.hub.cfg.Epoch,
	}
	if at := s.id.ExpiresAt; !at.IsZero() {
		ready.ExpiresAt = at.UnixMilli()
	}
	l.scratch.payload = wire.AppendReady(l.scratch.payload[:0], ready)
	return l.appendText(dst, frameReady)
}

// nameOf returns what a session is called in each `ready` of it. It is computed from what tells sessions of a hub apart, and
// so costs a session nothing to keep; the seed makes it differ from those of other gateways and earlier processes.
func (l *loop) nameOf(s *Session) string {
	sum := maphash.Comparable(l.hub.names, sessionKey{l, s.gen})
	return "c_" + hex.EncodeToString(binary.BigEndian.AppendUint64(nil, sum)[:6])
}

// sessionKey is of one session in the life of a hub.
type sessionKey struct {
	loop *loop
	gen  uint32
}

func (l *loop) appendGoodbye(dst []byte, reason string, reconnectAfterMs int64) []byte {
	l.scratch.payload = wire.AppendGoodbye(l.scratch.payload[:0], wire.Goodbye{
		Reason: reason, ReconnectAfterMs: reconnectAfterMs,
	})
	return l.appendText(dst, frameGoodbye)
}

func (l *loop) appendError(dst []byte, code wire.ErrorCode, message string) []byte {
	l.scratch.payload = wire.AppendError(l.scratch.payload[:0], wire.Error{Code: code, Message: message})
	return l.appendText(dst, frameError)
}

func (l *loop) appendClose(dst []byte, code wire.CloseCode) []byte {
	l.stats.frames[frameClose]++
	return wire.AppendCloseFrame(dst, code, code.String())
}

// appendBeat appends heartbeat and ping. Both are the same for every session of a turn.
func (l *loop) appendBeat(dst []byte, s *Session) []byte {
	sc := &l.scratch
	if sc.beatAt != l.unix {
		sc.beatAt = l.unix
		hb := wire.Heartbeat{At: l.unix}
		if to := l.hub.cfg.Counts.CompleteTo(); !to.IsZero() {
			hb.CompleteTo = to.UnixMilli()
			hb.LagMs = max(0, l.unix-hb.CompleteTo)
		}
		sc.payload = wire.AppendHeartbeat(sc.payload[:0], hb)
		sc.beat = wire.AppendPing(wire.AppendTextFrame(sc.beat[:0], sc.payload))
	}
	s.flags &^= beatDue
	s.lastBeat = l.now
	l.stats.frames[frameHeartbeat]++
	l.stats.frames[framePing]++
	return append(dst, sc.beat...)
}

// appendText frames the message in scratch.payload.
func (l *loop) appendText(dst []byte, f frameType) []byte {
	l.stats.frames[f]++
	return wire.AppendTextFrame(dst, l.scratch.payload)
}
