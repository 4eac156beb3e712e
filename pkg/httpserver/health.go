package httpserver

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"sync"
)

// Health answers /livez and /readyz. It is safe for concurrent use.
//
// Liveness says that the process answers, and never asks a dependency: restarting a process does not mend its broker.
// Readiness is the conjunction of named checks, and names those that fail.
type Health struct {
	mu     sync.Mutex // guards checks; not held while one runs
	checks []check
}

type check struct {
	name string
	run  func() error
}

// Add adds a readiness check: run returns nil or why the process is not ready. It must return at once.
func (h *Health) Add(name string, run func() error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.checks = append(h.checks, check{name: name, run: run})
}

// Report is the body of /readyz.
type Report struct {
	Status string        `json:"status"` // "ready" or "unready"
	Checks []CheckReport `json:"checks"`
}

// CheckReport is what one check said.
type CheckReport struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Reason string `json:"reason,omitempty"`
}

// Check runs every check.
func (h *Health) Check() (r Report, ready bool) {
	h.mu.Lock()
	checks := slices.Clone(h.checks)
	h.mu.Unlock()
	r, ready = Report{Status: "ready", Checks: []CheckReport{}}, true
	for _, c := range checks {
		cr := CheckReport{Name: c.name, OK: true}
		if err := c.run(); err != nil {
			cr.OK, cr.Reason = false, err.Error()
			r.Status, ready = "unready", false
		}
		r.Checks = append(r.Checks, cr)
	}
	return r, ready
}

// Livez answers 200 for as long as the process answers at all.
func (h *Health) Livez(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = fmt.Fprintln(w, `{"status":"alive"}`) // a probe that went away needs no answer
}

// Readyz answers 200 or 503 with a [Report].
func (h *Health) Readyz(w http.ResponseWriter, _ *http.Request) {
	report, ready := h.Check()
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	if !ready {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_ = json.NewEncoder(w).Encode(report) // a probe that went away needs no answer
}
