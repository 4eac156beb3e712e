// Package ws is the WebSocket endpoint: the handshake and its limits, the reading half of a connection with the limits on
// what a client may send, and the socket under both halves.
//
// # Who a connection is
//
// What the handshake shows, a token or a ticket, is looked at before the upgrade: who is refused gets an HTTP answer and costs
// no socket. A client that shows nothing is upgraded and waits in the lobby as a guest: it has a place among few, of the
// gateway's and of its address's, eight kilobytes for its first message, and the read deadline of its socket, which is no
// timer of ours; there is no session of it in the hub. Its first message says who it is, or it is told no and closed. Tokens
// are verified on goroutines of their own, since a signature takes a deep stack and the reader's is kept.
//
// # How a connection is kept small
//
// coder/websocket does the handshake, the control frames and the messages that come in. What goes out is framed by the
// hub and written to the socket directly: one write for many frames, shared between connections, without a goroutine. For
// that, Accept is handed a ResponseWriter whose Hijack returns this package's [Conn] with buffers of 96 and 128 bytes
// instead of net/http's 4 KiB each, and the handler returns: what is left of a connection is the socket, the library's
// Conn, the session and one goroutine that reads. Nothing may capture the request, the response or that ResponseWriter:
// it would keep net/http's buffers alive, 11 KiB a connection.
//
// # Why two writers are safe
//
// RFC 6455 has a server's frames unmasked, so bytes that were framed elsewhere are as good as the library's own. Both go
// through [Conn], which takes whole frames only and puts them on the wire one after the other: the hub's by TryWrite, the
// library's (a pong, the echo of a close, the close after a protocol error) by Write. What the socket does not take at
// once waits in order in one tail, which a goroutine of that connection sends while there is one.
package ws
