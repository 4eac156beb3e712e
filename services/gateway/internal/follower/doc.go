// Package follower is the counting side of a gateway: it reads every partition of the log, keeps the count of each link
// that somebody here watches, and tells the watchers that it changed.
//
// A link lives in one partition, so the partition is the shard: one goroutine that reads, one lock, one fold, one map of
// watched links. A click that nobody watches costs its entry in the fold's ring and a look into the map.
//
// # How a count begins
//
// The first watcher of a link makes the partition ask the [Snapshotter] for its total, together with all links that
// came meanwhile. The answer is a total and the offset S at which it is true. It is stitched to the live records at the
// moment it is applied, under the lock, with the position of that moment:
//
//   - S inside the ring (floor <= S <= position): total(S) + what the ring counted in [S, position).
//   - S ahead of the position: total(S), and live records below S are in it already. Until the position gets there, the
//     count is true at S, so seq is max(position, S): a smaller one would promise clicks twice.
//   - S below the floor: the ring cannot tell what came between. The link stays syncing and is read again.
//
// A store that rolls back, as a Redis does that restarts with an older file, is no case of its own: totals that are true
// at an older S are stitched like any others, and a count that is known already is the follower's and does not ask the
// store again.
//
// The ring holds every counted click of the partition, watched or not: a click that arrives between the Snapshotter's
// read and the answer would be missed by a link's own list, which begins with the answer. From then on the follower keeps
// the count; the last release forgets it, all of it: what a gateway remembered of a link nobody watches, no restart of
// the snapshot could correct.
//
// # When there is no total
//
// While the store is away, has no totals of the partition, has some of another rule, or has not come up to the floor yet,
// links that nobody watched before are syncing. Their totals are asked for again within half a second, one link on behalf
// of all until one lands: a storm of subscribers and a store in trouble at once is the rule, not the exception. Links that
// are known go on, and the gateway stays ready: no other could do better. [Set.Ready] never asks the store.
//
// # When the topic is another one
//
// A topic that was deleted and created again has the old one's name, and once it is long enough the old one's offsets. An
// answer of the log says by an id of which one it is, where brokers have ids, and a chunk of another one than the counts
// are of is not counted. Where they have none, and against logs that were cut off and written again, a follower keeps its
// last record: after every error of the log, every answer of a log that ends below its position, and every pause in which
// it did not run, it counts nothing until the log has shown that record again, in an answer that is younger than what is
// to be counted. Where another record is there, or the log stays too short for longer than a new leader needs, the
// partition stops: its links are syncing, the gateway is unready and says why, and a new epoch ends it. A record that
// retention has cut is taken for granted, unless the id has changed.
//
// The first totals after a start are held against the log in the same way, by the record that they end with: one fetch,
// once. Totals of another log are not used, nor are those that end behind the log until it has their last record. Totals
// that a [Replay] has read from the log just then are held against the follower's every time.
//
// Reads are batches. One call of a partition is under way at a time, links that come meanwhile go into the next one, and
// the partitions' calls share the store's round trips. So however many subscribe, a link is read once.
//
// # Where a partition begins
//
// Two windows before the end of the log: the first window warms the fold up, the second fills the ring, so that totals
// that lag behind can be stitched. Never from where the totals are: they may stand still, and a new gateway would wait
// for them. Where the log begins later than that, it begins at the log's start, and the warm-up is what is left of it.
// That is exact as long as records do not wait for longer than the log's retention less the duplicates' time bound: then
// a record that was removed is too old to make a duplicate of one that is still to be decided.
package follower
