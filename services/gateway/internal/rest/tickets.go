package rest

import (
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"strconv"
	"time"

	"github.com/linkpulse/linkpulse/pkg/auth"
	"github.com/linkpulse/linkpulse/pkg/tickets"
)

const (
	// maxTicketBody bounds the body of a request for a ticket. It stops reading what has nothing to say.
	maxTicketBody = 1 << 10
	// ticketBodyTime is how long it may take to come. It stops bodies that trickle in.
	ticketBodyTime = 5 * time.Second
)

// tickets answers POST /v1/tickets.
func (h *Handler) tickets(w http.ResponseWriter, r *http.Request, id *auth.Identity) *refusal {
	if h.cfg.Auth == nil {
		return refuse(reasonNoTickets, "authentication is off at this gateway: connect without a ticket")
	}
	origin, refused := originOf(w, r)
	if refused != nil {
		return refused
	}
	ticket, good, err := h.cfg.Auth.Issue(r.Context(), id, origin)
	switch {
	case errors.Is(err, tickets.ErrNone):
		return refuse(reasonNoTickets, "this gateway has no tickets, because it runs without Redis: show a token")
	case err != nil:
		return unauthorized(err)
	}
	body := append(append(make([]byte, 0, 128), `{"ticket":"`...), ticket...) // base64url needs no escaping
	body = strconv.AppendInt(append(body, `","expires_in_ms":`...), good.Milliseconds(), 10)
	header := w.Header()
	header.Set("Cache-Control", "no-store") // RFC 6750 section 5.3
	header["Content-Type"] = jsonType
	header["X-Content-Type-Options"] = noSniff
	_, _ = w.Write(append(body, "}\n"...)) //nolint:gosec // base64url and a number, as JSON; a client that has gone needs no answer
	return nil
}

// originOf returns the origin that the body of a request names, empty where there is no body.
func originOf(w http.ResponseWriter, r *http.Request) (string, *refusal) {
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(ticketBodyTime)) // a test's recorder has no connection
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxTicketBody))
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		return "", refuse(reasonBodySize, "the body has more than 1024 bytes: it is empty, or names an origin")
	}
	if err != nil {
		return "", refuse(reasonBody, "the body ended early")
	}
	if len(body) == 0 {
		return "", nil
	}
	if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || media != "application/json" {
		return "", refuse(reasonBodyType, "a body is JSON: send Content-Type: application/json")
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(body, &members); err != nil || members == nil {
		return "", refuse(reasonBody, `a body is a JSON object, like {"origin":"https://dash.example.com"}`)
	}
	text, named := members["origin"]
	if len(members) > 1 || len(members) == 1 && !named {
		return "", refuse(reasonBody, `the body may have the member "origin", and nothing else`)
	}
	if !named {
		return "", nil
	}
	var origin *string
	if err := json.Unmarshal(text, &origin); err != nil || origin == nil || tickets.CheckOrigin(*origin) != nil {
		return "", &refusal{reason: reasonBody, rule: "origin", detail: "origin is a scheme and a host, like https://dash.example.com"}
	}
	return *origin, nil
}
