// Package tally folds the log into totals that outlive every process.
//
// Each partition has a worker in whichever ingest the consumer group gave it to. The worker reads where the stored totals
// are, warms its fold up with the window before that, folds on, and applies what it counts in batches: clicks and the new
// offset together, or not at all ([totals.Epoch.Apply]). While one batch is being applied the next one grows, so batches
// are small when little happens and large when much does. A worker that has read all of the log rests for about a
// quarter of a second before it reads on: totals are for links that somebody opens, and gateways have what came since. Each
// partition does so at a time of its own.
//
// # Why it is exact
//
// What a stretch of the log counts is a function of the log, so it does not matter who computes it or how often. It
// matters that it is added once, and the store sees to that: a batch must begin where the stored totals end. The worker
// believes the store and never itself:
//
//   - A batch whose answer was lost is sent again as it was. If it is refused and the totals are at its end, it was applied.
//   - Refused with an offset ahead: somebody else got further. The worker folds on up to there without counting.
//   - Refused with an offset behind: the store went back in time. The worker forgets its fold and warms up again there,
//     since with what it knows records would be duplicates of themselves.
//   - Nobody refuses anything on a partition without clicks, so an idle worker asks for the offset once a second.
//
// # When it stops
//
// Where the log cannot give what the totals lack, or the totals are not of this log, the worker stops and says so
// ([Reason]). So it does where it is nearly a whole retention behind: clicks that were cut before it warmed up may be those
// that make the next ones duplicates. It touches nothing, and looks again every few seconds, so that what an operator mends is noticed. Nothing
// else stops with it: ingest accepts clicks, other partitions go on.
package tally
