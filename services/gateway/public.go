package gateway

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/linkpulse/linkpulse/pkg/httpserver"
	"github.com/linkpulse/linkpulse/pkg/problem"
)

// The bounds in time of a request that is no WebSocket; a connection that becomes one is rid of them.
const (
	// readTimeout is how long a request may take to come, with a body that nobody asked for. It stops bodies that trickle
	// in: net/http reads them to their end before it answers.
	readTimeout = 10 * time.Second
	// writeTimeout is how long the answer may take from then on. It stops clients that ask and do not read.
	writeTimeout = 20 * time.Second
)

// newPublic builds the server that clients talk to. An error of the networks of proxies was told when the configuration was
// checked: they are then nobody's.
func (s *Service) newPublic() (err error) {
	s.public = httpserver.New(s.routes(), s.log)
	s.public.ReadTimeout, s.public.WriteTimeout = readTimeout, writeTimeout
	bounds := httpserver.Bounds{
		Connections: s.cfg.Access.MaxPlainConnections, PerAddress: s.cfg.Access.MaxAddressConnections, Registry: s.registry,
	}
	networks, _ := s.cfg.Access.proxies()
	for _, n := range networks {
		bounds.Proxies = append(bounds.Proxies, netip.MustParsePrefix(n))
	}
	s.bounded, err = httpserver.Bound(s.public, s.listener, bounds)
	return err
}

func (s *Service) routes() http.Handler {
	r := chi.NewRouter()
	r.Get("/livez", s.health.Livez)
	r.Get("/readyz", s.health.Readyz)
	r.Get("/ws", s.behindProxies(s.ws).ServeHTTP)
	s.rest.Routes(r)
	for _, pattern := range []string{"/", "/assets/*"} {
		r.Get(pattern, s.page.ServeHTTP)
		r.Head(pattern, s.page.ServeHTTP)
	}
	r.NotFound(func(w http.ResponseWriter, _ *http.Request) {
		(&problem.Problem{
			Status: http.StatusNotFound, Code: "not_found",
			Detail: "nothing is here: counts are at /links/{id}/clicks and /v1/counts?links=a,b, the WebSocket is at /ws",
		}).Write(w)
	})
	r.MethodNotAllowed(func(w http.ResponseWriter, req *http.Request) {
		allowed := strings.Join(methodsOf(r, req), ", ")
		w.Header().Set("Allow", allowed)
		(&problem.Problem{
			Status: http.StatusMethodNotAllowed, Code: "method_not_allowed",
			Detail: "what is here takes " + allowed + "; clicks are posted to ingest",
		}).Write(w)
	})
	return r
}

// methodsOf returns the methods that the path of a request can be asked with.
func methodsOf(r chi.Routes, req *http.Request) []string {
	path := req.URL.RawPath // the path as chi matches it
	if path == "" {
		path = req.URL.Path
	}
	methods := []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodOptions}
	return slices.DeleteFunc(methods, func(method string) bool { return !r.Match(chi.NewRouteContext(), method, path) })
}
