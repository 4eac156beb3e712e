// Package rest answers requests for counts: GET /links/{id}/clicks and GET /v1/counts, as proto/openapi.yaml describes
// them. It is for whoever wants a number now and then; who wants to see it change opens a WebSocket.
//
// A request watches its links as a subscription does, so an answer is as fresh as a push. The watch lingers for a while
// after the request: a client that polls is answered from memory, and the store of totals is asked once for all polls of
// a link. How many links linger is bounded. The one that was asked for longest ago gives way to a new one.
//
// A link whose total is being read makes the request wait for it, a second at most. Few requests are let wait at a time,
// so that an outage of the store leaves room for the links that are known.
package rest
