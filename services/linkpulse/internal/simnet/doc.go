// Package simnet is a network in memory, for running a whole system of servers and clients inside a testing/synctest
// bubble. Its listeners and connections behave as loopback TCP does: bounded buffers (a reader that stops makes the
// writer block), deadlines, half-close, ECONNREFUSED, ECONNRESET and EPIPE where Linux has them. Every wait is one that
// synctest knows (a condition variable, a channel, a timer), so virtual time moves on while all ends wait.
//
// On top it breaks in the ways that networks break, by order or by rule: see [Fault] and [Network.Cut]. What the network
// decides by chance (jitter, how a stream falls into pieces) follows from the seed, the names of the two ends and the
// number of the connection between them, never from the order in which goroutines happen to run.
//
// It does not model bandwidth, reordering (TCP hides it) or the reset that Linux sends when a connection is closed with
// unread data.
package simnet
