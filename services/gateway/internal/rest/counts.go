package rest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strconv"
	"time"

	"github.com/linkpulse/linkpulse/pkg/auth"
)

// patience is how long a request waits for totals, and then for a history, that are being read.
const patience = time.Second

func notReady() *refusal {
	return refuse(reasonNotReady, "this gateway has no counts yet, or begins a new epoch: /readyz says what it waits for")
}

func syncing() *refusal {
	return refuse(reasonSyncing, "the total of the link is still being read; come again")
}

// clicks answers GET /links/{id}/clicks.
func (h *Handler) clicks(w http.ResponseWriter, r *http.Request, id *auth.Identity) *refusal {
	link, refused := linkOf(r)
	if refused != nil {
		return refused
	}
	asked, refused := spanOf(r)
	if refused != nil {
		return refused
	}
	if !id.Allows(link) {
		return refuse(reasonDenied, "the token does not cover the link, whether or not there is one of that id")
	}
	k := h.current.Load()
	if k == nil {
		return notReady()
	}
	held, refused := k.take(link)
	if refused != nil {
		return refused
	}
	defer k.give(held)
	if asked.history > 0 {
		return h.clicksWithHistory(w, r, k, held, asked)
	}
	reading, refused := h.read(r.Context(), k, held)
	if refused != nil {
		return refused
	}
	tag := newTag(reading)
	if tag.matches(r) {
		notModified(w, tag)
		return nil
	}
	writeJSON(w, r, tag, append(appendLink(make([]byte, 0, 256), link, reading, true), "}\n"...))
	return nil
}

// read returns the count of a link, and waits for it where it has none yet.
func (h *Handler) read(ctx context.Context, k *keeper, held *held) (Reading, *refusal) {
	if r, ok := held.watched.Read(); ok {
		return r, nil
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if refused := h.await(ctx, k, held); refused != nil {
		return Reading{}, refused
	}
	if r, ok := held.watched.Read(); ok {
		return r, nil
	}
	return Reading{}, syncing()
}

// await waits for the totals of links until ctx ends. The error says that too many requests wait already.
func (h *Handler) await(ctx context.Context, k *keeper, links ...*held) *refusal {
	defer h.waiting.Add(-1)
	if h.waiting.Add(1) > int64(h.cfg.MaxRequests+1)/2 {
		return refuse(reasonBusy, "too many requests wait for the store already; come again")
	}
	for _, l := range links {
		if !k.await(ctx, l) {
			return nil
		}
	}
	return nil
}

// counts answers GET /v1/counts.
func (h *Handler) counts(w http.ResponseWriter, r *http.Request, id *auth.Identity) *refusal {
	links, refused := linksOf(r)
	if refused != nil {
		return refused
	}
	k := h.current.Load()
	if k == nil {
		return notReady()
	}
	all := make([]*held, 0, len(links))
	defer func() {
		for _, l := range all {
			k.give(l)
		}
	}()
	var denied []string
	for _, link := range links {
		if !id.Allows(link) {
			denied = append(denied, link)
			continue
		}
		l, refused := k.take(link)
		if refused != nil {
			return refused
		}
		all = append(all, l)
	}
	if refused := h.awaitAll(r.Context(), k, all); refused != nil {
		return refused
	}
	body, tag := appendCounts(make([]byte, 0, 64+128*len(all)), k.source.Epoch, all, denied)
	if tag.matches(r) {
		notModified(w, tag)
		return nil
	}
	writeJSON(w, r, tag, body)
	return nil
}

// awaitAll waits for the links that have no count yet, all together.
func (h *Handler) awaitAll(ctx context.Context, k *keeper, all []*held) *refusal {
	var unknown []*held
	for _, l := range all {
		if _, ok := l.watched.Read(); !ok {
			unknown = append(unknown, l)
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return h.await(ctx, k, unknown...)
}

// appendCounts appends the answer to a batch, and makes its tag: that of all of its numbers but the seqs, and of what is
// denied, which another token may be told.
func appendCounts(b []byte, epoch int64, all []*held, denied []string) ([]byte, tag) {
	b = strconv.AppendInt(append(b, `{"epoch":`...), epoch, 10)
	b = append(b, `,"links":[`...)
	known := make([]byte, 0, 64*len(all)) // what the tag stands for
	var unknown []string
	for _, l := range all {
		r, ok := l.watched.Read()
		if !ok {
			unknown = append(unknown, l.link)
			continue
		}
		b = append(appendLink(b, l.link, r, false), "},"...)
		known = append(appendNumbers(append(append(known, l.link...), '='), r), ',')
	}
	if len(known) > 0 {
		b = b[:len(b)-1] // the last comma
	}
	b = appendLinks(append(b, `],"denied":[`...), denied)
	b = appendLinks(append(b, `],"syncing":[`...), unknown)
	for _, link := range denied {
		known = append(append(known, link...), '!')
	}
	sum := sha256.Sum256(known)
	return append(b, "]}\n"...), tag(`W/"` + hex.EncodeToString(sum[:16]) + `"`)
}

func appendLinks(b []byte, links []string) []byte {
	for i, link := range links {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(append(b, '"'), link...), '"')
	}
	return b
}
