// Package fold is the function of the log that decides which clicks count. It is pure: no I/O, no clock, no
// configuration but its parameters, which are data of the deployment. Whoever folds the same log gets the same counts,
// whether a totals worker, any gateway, a tool or a test, today or next week.
//
// # The rule
//
// A record is a duplicate if the same link and event id occur at an offset in [o-D, o), D offsets back, and the times of
// the two records are less than W apart. Everything else that decodes as a click counts. Clicks without an event id always
// count; records that are no clicks ("poison") count nothing but keep their offset.
//
// # Simpler rules, and how they fail
//
// "The same event id was counted before": the decision then depends on decisions, and so on all of the log. With D = 2 the
// log a1 a1 a1 a1 (four times click 1 of link a) counts the first and, when that one has left the window, the third;
// someone who starts to read at the second counts others. With raw occurrences, counted or not, the last D records decide
// alone, so warming up with any D records before n decides like a reader from offset 0.
//
// D alone, without W: retention cuts the log inside the window. Log a1 a1, the first record cut after it was folded: a
// reader that starts now counts the second one, the fold had not. With W, and as long as no record waits to be folded for
// longer than retention - W - 1 h (an hour for clocks), a record that was cut is too old to be within W of any that is
// still to be decided.
//
// W alone, without D: memory then depends on the traffic, and on the times in foreign records.
//
// A set of hashes of (link, id): two events share a truncated hash sooner or later, and a click is lost. The keyed hash
// here only finds candidates, whose link and id are then compared in full.
//
// # Memory
//
// D entries of 24 bytes, 8 to 16 bytes of index each, and the bytes of their ids and links in one recycled buffer that
// grows to the need of the largest window seen. In steady state a record allocates nothing.
package fold
