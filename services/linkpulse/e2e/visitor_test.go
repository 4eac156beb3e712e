package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/linkpulse/linkpulse/pkg/click"
	"github.com/linkpulse/linkpulse/services/linkpulse/internal/history"
)

// visitor posts clicks to ingest and takes down what became of them.
type visitor struct {
	ingest   func() string // base URL
	client   *http.Client
	recorder *history.Recorder
	rng      *rand.Rand
}

func newVisitor(ingest func() string, dial dialFunc, recorder *history.Recorder, seed uint64) *visitor {
	return &visitor{
		ingest: ingest, recorder: recorder,
		client: &http.Client{Transport: &http.Transport{DialContext: dial, MaxIdleConnsPerHost: 2}, Timeout: time.Minute},
		rng:    rand.New(rand.NewPCG(seed, 3)),
	}
}

func (v *visitor) close() { v.client.CloseIdleConnections() }

// posted is a click in the request of ingest.
type posted struct {
	Link string `json:"link"`
	ID   string `json:"id"`
	Bot  bool   `json:"bot,omitempty"`
}

// newClick makes up a click. Its id follows from the visitor's seed.
func (v *visitor) newClick(link string) (posted, click.ID) {
	var id click.ID
	for i := range id {
		id[i] = byte(v.rng.IntN(256))
	}
	id[6], id[8] = 0x40|id[6]&0x0f, 0x80|id[8]&0x3f // a random UUID (RFC 9562 section 5.4)
	return posted{Link: link, ID: id.String(), Bot: v.rng.IntN(5) == 0}, id
}

// visit posts a click for each link in one request, and the same again up to tries times until it is acknowledged.
func (v *visitor) visit(ctx context.Context, tries int, links ...string) error {
	clicks := make([]posted, len(links))
	ids := make([]click.ID, len(links))
	for i, link := range links {
		clicks[i], ids[i] = v.newClick(link)
	}
	body, err := json.Marshal(clicks)
	if err != nil {
		return err
	}
	for try := range tries {
		if try > 0 {
			timer := time.NewTimer(time.Duration(100+v.rng.IntN(400)) * time.Millisecond)
			select {
			case <-timer.C:
			case <-ctx.Done():
			}
			timer.Stop()
		}
		for i, link := range links {
			v.recorder.Sent(link, ids[i])
		}
		if err = v.post(ctx, body); err == nil {
			for i, link := range links {
				v.recorder.Acked(link, ids[i])
			}
			return v.again(ctx, body, links, ids)
		}
		for i, link := range links {
			v.recorder.Unknown(link, ids[i])
		}
	}
	return err
}

// again is a client that did not hear the answer: now and then it sends it all once more.
func (v *visitor) again(ctx context.Context, body []byte, links []string, ids []click.ID) error {
	if v.rng.IntN(10) > 0 {
		return nil
	}
	for i, link := range links {
		v.recorder.Sent(link, ids[i])
	}
	_ = v.post(ctx, body) // it counts already, whatever the answer
	return nil
}

func (v *visitor) post(ctx context.Context, body []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, v.ingest()+"/v1/clicks", bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := v.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusAccepted {
		return errors.New(resp.Status + ": " + string(answer))
	}
	return nil
}

// keepVisiting makes visits of one to three clicks, at random links and random times, about rate per second, until ctx
// ends. What is under way then is finished.
func (v *visitor) keepVisiting(ctx context.Context, rate float64, links []string) {
	work := context.WithoutCancel(ctx)
	for {
		timer := time.NewTimer(time.Duration(v.rng.ExpFloat64() / rate * float64(time.Second)))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
		to := make([]string, 1+v.rng.IntN(3))
		for i := range to {
			to[i] = links[min(v.rng.IntN(len(links)), v.rng.IntN(len(links)))] // the first ones more often
		}
		_ = v.visit(work, 1+v.rng.IntN(4), to...) // what became of it is in the history
	}
}
