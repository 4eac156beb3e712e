package bench

import (
	"fmt"
	"io"
	"runtime"
	"time"
)

// Usage is what a process has used.
type Usage struct {
	CPU  time.Duration // user and system time since it started
	RSS  int64         // anonymous resident memory, bytes
	Live int64         // heap and stacks in use after a collection, bytes; 0 where the server does not tell

	// What else the machine did, CPU time since it started: the load generator; all processes together; and what the
	// machine was not given because it is a virtual one. 0 where it is unknown.
	Generator, Machine, Stolen time.Duration
}

// Result is what a run measured. Its JSON form is what --json prints.
type Result struct {
	Dashboards int     `json:"dashboards"`
	Links      int     `json:"links_each"`
	Pool       int     `json:"links"`
	Rate       float64 `json:"clicks_per_s"`
	Seconds    float64 `json:"seconds"`
	Tokens     bool    `json:"tokens"` // whether dashboards showed one
	Clicks     int64   `json:"clicks"`
	Requests   int64   `json:"requests"`
	Retries    int64   `json:"retries"`
	Missing    int64   `json:"missing"`         // (click, dashboard) pairs that were never told
	PollMs     int64   `json:"poll_ms"`         // how often dashboards asked; 0: they were told
	Frames     int64   `json:"frames"`          // or answers to polls
	Delivered  float64 `json:"delivered_per_s"` // frames
	// CPU of the server, in microseconds; 0 where it is unknown.
	CPUPerFrame float64 `json:"cpu_us_per_frame"`
	CPUPerClick float64 `json:"cpu_us_per_click"`
	Cores       float64 `json:"server_cores"` // CPU seconds per second
	// Click to frame, in milliseconds.
	P50  float64 `json:"p50_ms"`
	P99  float64 `json:"p99_ms"`
	P999 float64 `json:"p999_ms"`
	Max  float64 `json:"max_ms"`
	// How late the load generator itself was, in milliseconds: from when a click was due, and its link's previous one
	// answered, until it went out. It is part of the latencies.
	SenderP50  float64 `json:"sender_late_p50_ms"`
	SenderP99  float64 `json:"sender_late_p99_ms"`
	SenderP999 float64 `json:"sender_late_p999_ms"`
	// Who else used the machine's CPUs, in CPU seconds per second: the load generator, everybody but the server and the
	// generator, and the host that did not run a virtual machine. A latency is worth what was left to the server.
	GeneratorCores float64 `json:"generator_cores"`
	OtherCores     float64 `json:"other_cores"`
	StolenCores    float64 `json:"stolen_cores"`
	Machine        int     `json:"machine_cores"`
	// Which CPUs the server and the load generator had for themselves, by number. None: they shared all of them, or nobody
	// knows, since the system ran already.
	ServerCPUs    []int `json:"server_cpus"`
	GeneratorCPUs []int `json:"generator_cpus"`
	// What the server's memory grew by for a connection with its subscriptions, in bytes. RSS includes what the handshakes
	// left for the collector, live memory does not. 0 where it is unknown: dashboards that poll leave no subscriptions
	// behind, and what a few connections add may be less than what the server gives back meanwhile.
	RSSPerConnection  int64 `json:"rss_bytes_per_connection"`
	LivePerConnection int64 `json:"live_bytes_per_connection"`
}

func (r *run) result(idle, connected, before, after Usage) Result {
	r.latency.mu.Lock()
	defer r.latency.mu.Unlock()
	all := r.latency.h
	r.delay.mu.Lock()
	defer r.delay.mu.Unlock()
	ms := func(us int64) float64 { return float64(us) / 1000 }
	seconds := r.load.Duration.Seconds()
	res := Result{
		Dashboards: r.load.Dashboards, Links: r.load.Links, Pool: r.load.Pool, Rate: r.load.Rate, Seconds: seconds, Tokens: r.target.Token != "",
		PollMs: r.load.Poll.Milliseconds(), Clicks: r.posted.Load(), Requests: r.requests.Load(), Retries: r.retries.Load(), Missing: r.owed.Load(),
		Frames: r.frames.Load(), Delivered: float64(r.frames.Load()) / seconds,
		P50: ms(all.ValueAtQuantile(50)), P99: ms(all.ValueAtQuantile(99)), P999: ms(all.ValueAtQuantile(99.9)), Max: ms(all.Max()),
		SenderP50: ms(r.delay.h.ValueAtQuantile(50)), SenderP99: ms(r.delay.h.ValueAtQuantile(99)), SenderP999: ms(r.delay.h.ValueAtQuantile(99.9)),
		Machine: runtime.NumCPU(),
	}
	if cpu := after.CPU - before.CPU; cpu > 0 {
		res.Cores = cpu.Seconds() / seconds
		res.CPUPerFrame = float64(cpu.Microseconds()) / float64(max(res.Frames, 1))
		res.CPUPerClick = float64(cpu.Microseconds()) / (r.load.Rate * seconds)
		res.GeneratorCores = (after.Generator - before.Generator).Seconds() / seconds
		all := (after.Machine - before.Machine).Seconds() / seconds
		res.OtherCores = max(0, all-res.Cores-res.GeneratorCores)
		res.StolenCores = (after.Stolen - before.Stolen).Seconds() / seconds
	}
	if r.load.Poll == 0 {
		res.RSSPerConnection = max(0, connected.RSS-idle.RSS) / int64(r.load.Dashboards)
		res.LivePerConnection = max(0, connected.Live-idle.Live) / int64(r.load.Dashboards)
	}
	return res
}

// Print writes the result for a person.
func (r *Result) Print(w io.Writer) error {
	cpu := "unknown: the server's process is not"
	if r.Cores > 0 {
		cpu = fmt.Sprintf("%.1f µs per delivered frame, %.0f µs per click, %.2f cores", r.CPUPerFrame, r.CPUPerClick, r.Cores)
	}
	machine := "unknown"
	if r.GeneratorCores > 0 {
		machine = fmt.Sprintf("%d cores: %.2f used by the server, %.2f by the load generator, %.2f by others, %.2f stolen",
			r.Machine, r.Cores, r.GeneratorCores, r.OtherCores, r.StolenCores)
	}
	tokens := "dashboards without a token"
	if r.Tokens {
		tokens = "dashboards with a token"
	}
	what, told := "frames", "click→frame "
	if r.PollMs > 0 {
		what, told = fmt.Sprintf("answers to polls, every %d ms from each dashboard:", r.PollMs), "click→answer"
	}
	_, err := fmt.Fprintf(w, `load         %d dashboards × %d of %d links, %.0f clicks/s for %.0f s (%d clicks in %d requests, %d of them sent again), %s
delivered    %s %.0f/s
%s p50 %.2f ms   p99 %.2f ms   p99.9 %.2f ms   max %.2f ms
             of which the load generator's own lateness: p50 %.2f ms   p99 %.2f ms   p99.9 %.2f ms
server CPU   %s
machine      %s
cores        %s
memory       %s
`,
		r.Dashboards, r.Links, r.Pool, r.Rate, r.Seconds, r.Clicks, r.Requests, r.Retries, tokens,
		what, r.Delivered, told, r.P50, r.P99, r.P999, r.Max, r.SenderP50, r.SenderP99, r.SenderP999, cpu, machine,
		division{server: r.ServerCPUs, generator: r.GeneratorCPUs}, r.memory())
	if err == nil && r.Missing > 0 {
		_, err = fmt.Fprintf(w, "MISSING      %d times a dashboard was not told of a click\n", r.Missing)
	}
	return err
}

// memory says what a connection takes.
func (r *Result) memory() string {
	size := func(n int64) string {
		if n == 0 {
			return "unknown"
		}
		return fmt.Sprintf("%d bytes", n)
	}
	switch {
	case r.PollMs > 0:
		return "not measured: dashboards that poll have no connection of their own"
	case r.Cores == 0 && r.RSSPerConnection == 0:
		return "unknown: the server's process is not"
	}
	return fmt.Sprintf("%s resident per connection, %s of heap and stack in use", size(r.RSSPerConnection), size(r.LivePerConnection))
}
