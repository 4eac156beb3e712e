// Package client is how Go programs talk to Linkpulse: a [Sender] hands the clicks of a redirect server to ingest without
// ever holding up a redirect, and a [Watcher] follows live counts from whichever gateway answers.
//
// It logs nothing: what a program may want to know arrives in counters and callbacks. Besides the standard library it
// uses the WebSocket library only. Every wait is on a timer, a channel or the network, so both run in virtual time
// (testing/synctest) over a network in memory that is given by an http.RoundTripper.
package client
