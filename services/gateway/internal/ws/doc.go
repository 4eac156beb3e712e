// Package ws is the WebSocket endpoint: the handshake and its limits, the reading half of a connection with the limits on
// what a client may send, and the socket under both halves.
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
