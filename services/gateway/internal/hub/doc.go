// Package hub delivers counts to connections.
//
// It is a few event loops, one per core. A loop owns its sessions, the topics (links) that they subscribed to and a timer
// wheel; nothing of it is shared, so nothing of it is locked. What reaches a loop from outside comes through its mailbox:
// what a connection's reader asks for, which topics changed, which connections can be written again.
//
// The rules that the rest follows from:
//
//   - A loop never blocks. Writes are tries ([Conn.TryWrite]); what a connection does not take at once is its own affair
//     until it calls [Session.Drained].
//   - Updates are state, not a queue. A session has a set of dirty subscriptions; when it can be written, the newest count
//     of each goes out, and delta is the difference to what this session was told last. So a slow client costs nobody
//     anything, and previous count + delta == count holds for any pace, pause or conflation.
//   - Answers are a queue, a small one that loses nothing (the control lane). A session whose lane is full is not listened
//     to until it has been written, which is TCP's own backpressure.
//   - A subscription is live only once its `subscribed` is in front of everything else to be written, so no update can
//     overtake it: an update that did would break the next delta.
//   - A session sees what its identity covers, which is looked at before anything else is done with a link, and again when
//     the identity changes. One whose identity ends, by time or by revocation, is cut off in the turn that finds it, and told
//     why in its turn.
//   - Leading edge, natural batching: a change goes out at once, and what arrives while it is going out makes up the next
//     write. There is no tick. All that a session is owed at that moment goes out in one write.
package hub
