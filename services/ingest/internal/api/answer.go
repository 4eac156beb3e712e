package api

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/linkpulse/linkpulse/pkg/kafkalog"
	"github.com/linkpulse/linkpulse/pkg/problem"
)

// unbuffered is below the size from which net/http does not count an answer's bytes itself but sends it in chunks.
const unbuffered = 2000

// answerAccepted answers that every click is in the log.
func (h *Handler) answerAccepted(w http.ResponseWriter, s *scratch) {
	out := s.out[:0]
	out = append(out, `{"accepted":`...)
	out = strconv.AppendInt(out, int64(len(s.ids)), 10)
	out = append(out, `,"ids":[`...)
	for i := range s.ids {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, '"')
		out = s.ids[i].Append(out)
		out = append(out, '"')
	}
	out = append(out, "]}\n"...)
	s.out = out
	header := w.Header()
	header["Content-Type"] = h.jsonType
	if len(out) > unbuffered {
		header["Content-Length"] = []string{strconv.Itoa(len(out))}
	}
	w.WriteHeader(http.StatusAccepted)
	_, _ = w.Write(out) // a client that has gone asks again, with the same ids or for new clicks
	h.metrics.requests[http.StatusAccepted].Inc()
}

// answerFailure answers a request of which at least one click was not acknowledged. Where any of them is in the log, or
// may be, it tells the outcome of each with its id, so that what is sent again counts once. Where none is, it says no
// more: the request can be sent again as it was.
func (h *Handler) answerFailure(w http.ResponseWriter, s *scratch) {
	overall, accepted, unknown := reasonNone, 0, 0
	results := make([]problem.Result, len(s.messages))
	for i := range s.messages {
		reason := reasonOf(s.messages[i].Err)
		result := problem.Result{Index: i, ID: s.ids[i].String(), Status: "failed"}
		switch reason {
		case reasonNone:
			accepted++
			result.Status = "accepted"
			results[i] = result
			continue
		case reasonUnknown:
			unknown++
			result.Status = "unknown"
		default:
		}
		result.Code, _ = reason.describe()
		results[i] = result
		h.metrics.failed[reason].Inc()
		if overall == reasonNone {
			overall = reason
		} else if overall != reason {
			overall = reasonMixed
		}
	}
	h.metrics.accepted.Add(float64(accepted))
	s.caller.key.Count(accepted)
	code, status := overall.describe()
	h.metrics.requests[status].Inc()
	p := problem.Problem{Status: status, Code: code, RetryAfter: h.limits.RetryAfter}
	if accepted+unknown == 0 {
		p.Detail = "nothing was accepted: " + overall.sentence()
	} else {
		p.Results = results
		p.Detail = fmt.Sprintf("%d of %d clicks are in the log; send the others again with the ids of the results", accepted, len(results))
	}
	p.Write(w)
}

// reasonOf names the outcome of one message.
func reasonOf(err error) reason {
	switch {
	case err == nil:
		return reasonNone
	case errors.Is(err, kafkalog.ErrQueueFull):
		return reasonQueueFull
	case errors.Is(err, kafkalog.ErrUnknownOutcome):
		return reasonUnknown
	case errors.Is(err, kafkalog.ErrClosed):
		return reasonClosing
	default:
		return reasonUnavailable
	}
}
