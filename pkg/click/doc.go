// Package click holds the vocabulary that every part of Linkpulse shares: link ids, event ids, the click record as it
// lies in Kafka, the partition of a link, and the count that a dashboard is told.
//
// Everything here is pure: no I/O, no clock, safe for concurrent use.
package click
