package rest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strconv"
	"time"
)

// patience is how long a request waits for totals, and then for a history, that are being read.
const patience = time.Second

var (
	errNotReady = refuse(reasonNotReady, "this gateway has no counts yet, or begins a new epoch: /readyz says what it waits for")
	errSyncing  = refuse(reasonSyncing, "the total of the link is still being read; come again")
)

// clicks answers GET /links/{id}/clicks.
func (h *Handler) clicks(w http.ResponseWriter, r *http.Request) error {
	link, err := linkOf(r)
	if err != nil {
		return err
	}
	span, err := spanOf(r)
	if err != nil {
		return err
	}
	k := h.current.Load()
	if k == nil {
		return errNotReady
	}
	held, err := k.take(link)
	if err != nil {
		return err
	}
	defer k.give(held)
	if span.history > 0 {
		return h.clicksWithHistory(w, r, k, held, span)
	}
	reading, err := h.read(r.Context(), k, held)
	if err != nil {
		return err
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
func (h *Handler) read(ctx context.Context, k *keeper, held *held) (Reading, error) {
	if r, ok := held.watched.Read(); ok {
		return r, nil
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := h.await(ctx, k, held); err != nil {
		return Reading{}, err
	}
	if r, ok := held.watched.Read(); ok {
		return r, nil
	}
	return Reading{}, errSyncing
}

// await waits for the totals of links until ctx ends. The error says that too many requests wait already.
func (h *Handler) await(ctx context.Context, k *keeper, links ...*held) error {
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
func (h *Handler) counts(w http.ResponseWriter, r *http.Request) error {
	links, err := linksOf(r)
	if err != nil {
		return err
	}
	k := h.current.Load()
	if k == nil {
		return errNotReady
	}
	all := make([]*held, 0, len(links))
	defer func() {
		for _, l := range all {
			k.give(l)
		}
	}()
	for _, link := range links {
		l, err := k.take(link)
		if err != nil {
			return err
		}
		all = append(all, l)
	}
	if err := h.awaitAll(r.Context(), k, all); err != nil {
		return err
	}
	body, tag := appendCounts(make([]byte, 0, 64+128*len(all)), k.source.Epoch, all)
	if tag.matches(r) {
		notModified(w, tag)
		return nil
	}
	writeJSON(w, r, tag, body)
	return nil
}

// awaitAll waits for the links that have no count yet, all together.
func (h *Handler) awaitAll(ctx context.Context, k *keeper, all []*held) error {
	var syncing []*held
	for _, l := range all {
		if _, ok := l.watched.Read(); !ok {
			syncing = append(syncing, l)
		}
	}
	if len(syncing) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return h.await(ctx, k, syncing...)
}

// appendCounts appends the answer to a batch, and makes its tag: that of all of its numbers but the seqs.
func appendCounts(b []byte, epoch int64, all []*held) ([]byte, tag) {
	b = strconv.AppendInt(append(b, `{"epoch":`...), epoch, 10)
	b = append(b, `,"links":[`...)
	known := make([]byte, 0, 64*len(all)) // what the tag stands for
	var syncing []string
	for _, l := range all {
		r, ok := l.watched.Read()
		if !ok {
			syncing = append(syncing, l.link)
			continue
		}
		b = append(appendLink(b, l.link, r, false), "},"...)
		known = append(appendNumbers(append(append(known, l.link...), '='), r), ',')
	}
	if len(known) > 0 {
		b = b[:len(b)-1] // the last comma
	}
	b = append(b, `],"syncing":[`...)
	for i, link := range syncing {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(append(b, '"'), link...), '"')
	}
	sum := sha256.Sum256(known)
	return append(b, "]}\n"...), tag(`W/"` + hex.EncodeToString(sum[:16]) + `"`)
}
