package ingest

import (
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/linkpulse/linkpulse/pkg/click"
	"github.com/linkpulse/linkpulse/pkg/contract"
	"github.com/linkpulse/linkpulse/pkg/httpserver"
)

const someID = "0198c0de-1234-7abc-8def-000102030405"

// linkIn returns a link of the partition.
func linkIn(t *testing.T, partition int32) string {
	t.Helper()
	for link := range strings.SplitSeq("abcdefghijklmnopqrstuvwxyz", "") {
		if click.Partition(link, partitions) == partition {
			return link
		}
	}
	t.Fatalf("no link of one letter is in partition %d", partition)
	return ""
}

func TestAcceptedClicksAreInTheLog(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := ready(t, nil)
		const trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
		before := time.Now()
		a := w.mustPost(http.StatusAccepted, `[{"link":"x7Kp2"},
			{"link":"a3bZ9","id":"`+someID+`","at":"2026-01-31T12:00:00Z","referrer":"https://News.example/story?q","country":"de","user_agent":"curl/8.5.0"}]`,
			"Traceparent", trace)
		if a.Accepted != 2 || len(a.IDs) != 2 || a.IDs[1] != someID {
			t.Fatalf("answer %v", a)
		}
		got := map[string]click.Record{}
		for _, r := range w.records("clicks") {
			record, err := click.Decode(r.Key, r.Value)
			if err != nil {
				t.Fatal(err)
			}
			got[string(r.Key)] = record
			if want := click.Partition(r.Key, partitions); r.Partition != want {
				t.Errorf("%s is in partition %d, want %d", r.Key, r.Partition, want)
			}
			if r.Timestamp.Before(before.Truncate(time.Millisecond)) || r.Timestamp.After(time.Now()) {
				t.Errorf("%s has the time %v, want that of the request", r.Key, r.Timestamp)
			}
			if len(r.Headers) != 1 || r.Headers[0].Key != "traceparent" || string(r.Headers[0].Value) != trace {
				t.Errorf("%s has the headers %v", r.Key, r.Headers)
			}
		}
		at := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC).UnixMilli()
		if len(got) != 2 || got["x7Kp2"].ID.String() != a.IDs[0] || got["a3bZ9"].ID.String() != someID || !got["a3bZ9"].Bot ||
			got["a3bZ9"].AtMs != at || got["a3bZ9"].Country != "DE" || got["a3bZ9"].ReferrerHost != "news.example" || got["x7Kp2"].Bot {
			t.Fatalf("the log has %+v", got)
		}
	})
}

// A retry is appended again under the same id: that it counts once is for the readers of the log.
func TestRetryKeepsItsID(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := ready(t, nil)
		for range 2 {
			if a := w.mustPost(http.StatusAccepted, `{"link":"x7Kp2","id":"`+someID+`"}`); a.IDs[0] != someID {
				t.Fatalf("answer %v", a)
			}
		}
		records := w.records("clicks")
		if len(records) != 2 || string(records[0].Value) != string(records[1].Value) {
			t.Fatalf("the log has %v", records)
		}
	})
}

func TestWaitsForTheDeployment(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		time.Sleep(10 * time.Second)
		if status, body := w.get("/readyz"); status != http.StatusServiceUnavailable || !strings.Contains(body, "waiting for the deployment record") {
			t.Fatalf("/readyz answered %d %s", status, body)
		}
		if status, body := w.get("/livez"); status != http.StatusOK {
			t.Fatalf("/livez answered %d %s", status, body)
		}
		if a := w.mustPost(http.StatusServiceUnavailable, `{"link":"a"}`); a.Code != "not_ready" || a.retryAfter != "1" {
			t.Fatalf("answer %v", a)
		}
		w.init()
		w.awaitReady()
		w.mustPost(http.StatusAccepted, `{"link":"a"}`)
	})
}

// The whole life may pass without a deployment.
func TestStopsWhileWaiting(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		time.Sleep(3 * time.Second)
		w.stop()
		begun := time.Now()
		if err := <-w.ended; err != nil || time.Since(begun) > time.Second {
			t.Fatalf("Run = %v after %v", err, time.Since(begun))
		}
	})
}

// stuck makes the broker refuse appends, to some partitions or to all, until the handle is removed.
func (w *world) stuck(partitions ...int32) *kfake.FaultHandle {
	return w.broker.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: "clicks", Partitions: partitions, Err: kerr.NotEnoughReplicas, Count: -1})
}

// A request that is under way when the service is told to stop is answered, and what it says is true.
func TestStopAnswersWhatIsUnderWay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := ready(t, nil)
		fault := w.stuck()
		type outcome struct {
			a   answer
			err error
		}
		outcomes := make(chan outcome, 3)
		for range 3 {
			go func() {
				a, err := w.post(`{"link":"x7Kp2"}`)
				outcomes <- outcome{a, err}
			}()
		}
		time.Sleep(time.Second)
		w.stop()
		synctest.Wait()
		if err := w.service.checkDraining(); err == nil {
			t.Error("ready while stopping")
		}
		if c, err := w.network.DialContext(t.Context(), "tcp", serviceAddr); err == nil {
			t.Error("a connection was accepted while stopping")
			_ = c.Close()
		}
		time.Sleep(3 * time.Second)
		fault.Remove()
		for range 3 {
			if o := <-outcomes; o.err != nil || o.a.status != http.StatusAccepted {
				t.Fatalf("answer %v, %v", o.a, o.err)
			}
		}
		if err := <-w.ended; err != nil {
			t.Fatalf("Run = %v", err)
		}
		if n := len(w.records("clicks")); n != 3 {
			t.Fatalf("%d records, want 3", n)
		}
	})
}

// What cannot be finished by the deadline is told so, and then the service is gone.
func TestStopHasADeadline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := ready(t, func(c *Config) { c.Drain = 6 * time.Second })
		w.stuck()
		answers := make(chan answer, 1)
		go func() {
			a, _ := w.post(`{"link":"x7Kp2"}`)
			answers <- a
		}()
		time.Sleep(time.Second)
		w.stop()
		begun := time.Now()
		a := <-answers
		err := <-w.ended
		if took := time.Since(begun); took < 5*time.Second || took > 6*time.Second {
			t.Errorf("stopped after %v, want just below the drain of 6s", took)
		}
		if a.status != http.StatusServiceUnavailable || err == nil {
			t.Fatalf("answer %v, Run = %v; want 503 and an error", a, err)
		}
	})
}

// A full queue is told at once, while what is in it goes on.
func TestQueueFull(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := ready(t, func(c *Config) { c.Queue.Bytes = 64 << 10 })
		fault := w.stuck()
		one := `{"link":"` + linkIn(t, 0) + `","referrer":"https://news.example/"}` // 44 bytes in the queue
		batch := "[" + strings.Repeat(one+",", 999) + one + "]"
		var answers [2]chan answer
		for i := range answers { // the first has room, the second has some
			answers[i] = make(chan answer, 1)
			go func() {
				a, _ := w.post(batch)
				answers[i] <- a
			}()
			time.Sleep(time.Second)
		}
		a := w.mustPost(http.StatusServiceUnavailable, batch)
		if a.Code != "queue_full" || a.took != 0 || a.retryAfter != "1" || a.Results != nil {
			t.Fatalf("answer %v, want queue_full at once", a)
		}
		fault.Remove()
		if a := <-answers[0]; a.status != http.StatusAccepted || a.Accepted != 1000 {
			t.Fatalf("answer %v to the first batch", a)
		}
		a = <-answers[1]
		accepted := 0
		for _, r := range a.Results {
			if r.Status == "accepted" {
				accepted++
			} else if r.Status != "failed" || r.Code != "queue_full" {
				t.Fatalf("result %+v", r)
			}
		}
		if a.status != http.StatusServiceUnavailable || len(a.Results) != 1000 || accepted == 0 || accepted == 1000 {
			t.Fatalf("answer %v to the second batch, %d accepted", a, accepted)
		}
		if n := len(w.records("clicks")); n != 1000+accepted {
			t.Fatalf("%d records, want %d", n, 1000+accepted)
		}
	})
}

// One partition that does not take its clicks fails these alone.
func TestPartitionsDiffer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := ready(t, func(c *Config) { c.Queue.Deadline = 5 * time.Second })
		w.stuck(1)
		a := w.mustPost(http.StatusServiceUnavailable, `[{"link":"`+linkIn(t, 0)+`"},{"link":"`+linkIn(t, 1)+`"},{"link":"`+linkIn(t, 2)+`"}]`)
		if a.Code != "log_unavailable" || len(a.Results) != 3 || a.Results[0].Status != "accepted" ||
			a.Results[1].Status != "failed" || a.Results[1].Code != "log_unavailable" || a.Results[2].Status != "accepted" {
			t.Fatalf("answer %v", a)
		}
		records := w.records("clicks")
		if len(records) != 2 {
			t.Fatalf("%d records, want 2", len(records))
		}
		for _, r := range records {
			id, _, err := click.Scan(r.Key, r.Value)
			if err != nil || id.String() != a.Results[0].ID && id.String() != a.Results[2].ID {
				t.Errorf("%s is in the log as %v, %v; the results are %+v", r.Key, id, err, a.Results)
			}
		}
	})
}

func TestBrokerAway(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := ready(t, func(c *Config) { c.Queue.Deadline = 20 * time.Second })
		w.setAway(true)
		a := w.mustPost(http.StatusServiceUnavailable, `{"link":"x7Kp2"}`)
		if a.took < 19*time.Second || a.took > 26*time.Second || a.retryAfter != "1" {
			t.Fatalf("answer %v after %v, want one after the deadline of 20s", a, a.took)
		}
		if status, body := w.get("/readyz"); status != http.StatusServiceUnavailable || !strings.Contains(body, `"producer","ok":false`) {
			t.Fatalf("/readyz answered %d %s", status, body)
		}
		w.setAway(false)
		w.awaitReady()
		w.mustPost(http.StatusAccepted, `{"link":"x7Kp2"}`)
	})
}

// A body that trickles in holds its memory no longer than the read timeout.
func TestSlowBody(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := ready(t, nil)
		conn, err := w.network.DialContext(t.Context(), "tcp", serviceAddr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		begun := time.Now()
		if _, err := conn.Write([]byte("POST /v1/clicks HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 1024)
		n, err := conn.Read(buf)
		if took := time.Since(begun); err != nil || !strings.Contains(string(buf[:n]), "body_cut_short") || took != 10*time.Second {
			t.Fatalf("answer %q, %v after %v", buf[:n], err, took)
		}
	})
}

// A client that does not read its answer loses its connection.
func TestAnswerThatNobodyReads(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := ready(t, nil)
		conn, err := w.network.DialContext(t.Context(), "tcp", serviceAddr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := conn.Write([]byte("GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(w.service.server.WriteTimeout + time.Second)
		if n, err := conn.Read(make([]byte, 1024)); !errors.Is(err, io.EOF) {
			t.Fatalf("read %d bytes, %v; want a connection that was closed", n, err)
		}
	})
}

// What the contract has no operation for is answered as it says, too: in the shape of the answers to a POST.
func TestOtherRequests(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := ready(t, nil)
		transport := &http.Transport{DialContext: w.network.DialContext}
		defer transport.CloseIdleConnections()
		w.client = &http.Client{Transport: transport}
		for path, want := range map[string]struct {
			status int
			allow  string
		}{
			"/":           {http.StatusNotFound, ""},
			"/v1/clicks/": {http.StatusNotFound, ""},
			"/v1/clicks":  {http.StatusMethodNotAllowed, http.MethodPost},
		} {
			resp, err := w.client.Get("http://" + serviceAddr + path)
			if err != nil {
				t.Fatal(err)
			}
			if resp.StatusCode != want.status || resp.Header.Get("Allow") != want.allow {
				t.Errorf("GET %s answered %d, Allow %q", path, resp.StatusCode, resp.Header.Get("Allow"))
			}
			post := httptest.NewRequest(http.MethodPost, "/v1/clicks", strings.NewReader(`{"link":"x"}`))
			post.Header.Set("Content-Type", "application/json")
			contract.OpenAPI(t).ValidateResponse(t, post, resp)
			_ = resp.Body.Close()
		}
		var report httpserver.Report
		status, body := w.get("/readyz")
		if err := json.Unmarshal([]byte(body), &report); err != nil || status != http.StatusOK || len(report.Checks) != 3 {
			t.Errorf("/readyz answered %d %s", status, body)
		}
	})
}

func TestConnectionsAreLimited(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := ready(t, func(c *Config) { c.Limits.Connections = 2 })
		w.closeIdle()
		synctest.Wait()
		var held []net.Conn
		for range 2 {
			c, err := w.network.DialContext(t.Context(), "tcp", serviceAddr)
			if err != nil {
				t.Fatal(err)
			}
			held = append(held, c)
		}
		synctest.Wait()
		if _, err := w.post(`{"link":"a"}`); err == nil {
			t.Error("a third connection was served")
		}
		for _, c := range held {
			_ = c.Close()
		}
		synctest.Wait()
		w.mustPost(http.StatusAccepted, `{"link":"a"}`)
	})
}
