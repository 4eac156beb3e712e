package broker

import (
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// ghosts are members of consumer groups that joined and were gone before they were answered. Kafka begins a member's
// session with that answer whether or not it arrives; kfake begins none if the connection is closed by then, and such a
// member keeps its partitions for ever. Here the others are told to join again when nobody has heard of the member for a
// session, and whoever does not take part in that is removed.
//
// It sees requests before kfake does, in the goroutine that handles them all.
type ghosts struct {
	groups map[string]*heard
}

// heard is when the members of a group were heard of.
type heard struct {
	session time.Duration
	members map[string]time.Time
	again   map[string]bool // who is still to be told to join again; kfake may call several the leader, and heeds one
}

func exorcise(c *kfake.Cluster) {
	g := &ghosts{groups: make(map[string]*heard)}
	type answer = kmsg.Response
	c.ControlKey(int16(kmsg.JoinGroup), func(r kmsg.Request) (answer, error, bool) {
		if join, ok := r.(*kmsg.JoinGroupRequest); ok {
			g.join(join)
		}
		return nil, nil, false
	})
	c.ControlKey(int16(kmsg.SyncGroup), func(r kmsg.Request) (answer, error, bool) {
		if sync, ok := r.(*kmsg.SyncGroupRequest); ok {
			g.sync(sync)
		}
		return nil, nil, false
	})
	c.ControlKey(int16(kmsg.Heartbeat), func(r kmsg.Request) (answer, error, bool) {
		beat, ok := r.(*kmsg.HeartbeatRequest)
		if !ok || !g.heartbeat(beat) {
			return nil, nil, false
		}
		c.KeepControl()
		again := beat.ResponseKind().(*kmsg.HeartbeatResponse) //nolint:forcetypeassert // what a heartbeat is answered with
		again.ErrorCode = kerr.RebalanceInProgress.Code
		return again, nil, true
	})
}

func (g *ghosts) join(r *kmsg.JoinGroupRequest) {
	h := g.groups[r.Group]
	if h == nil {
		h = &heard{members: make(map[string]time.Time), again: make(map[string]bool)}
		g.groups[r.Group] = h
	}
	h.session = max(h.session, time.Duration(r.SessionTimeoutMillis)*time.Millisecond)
}

// sync takes the members from what their leader assigns to them.
func (g *ghosts) sync(r *kmsg.SyncGroupRequest) {
	h := g.groups[r.Group]
	if h == nil {
		return
	}
	now := time.Now()
	if len(r.GroupAssignment) > 0 {
		members := make(map[string]time.Time, len(r.GroupAssignment))
		for _, a := range r.GroupAssignment {
			members[a.MemberID] = now
		}
		h.members = members
		clear(h.again)
	}
	h.members[r.MemberID] = now
}

// heartbeat tells whether a member is to join again.
func (g *ghosts) heartbeat(r *kmsg.HeartbeatRequest) bool {
	h := g.groups[r.Group]
	if h == nil {
		return false
	}
	now := time.Now()
	h.members[r.MemberID] = now
	for member, at := range h.members {
		if now.Sub(at) > h.session {
			delete(h.members, member)
			for other := range h.members {
				h.again[other] = true
			}
		}
	}
	again := h.again[r.MemberID]
	delete(h.again, r.MemberID)
	return again
}
