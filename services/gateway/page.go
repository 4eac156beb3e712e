package gateway

import (
	"fmt"
	"net/http"

	"github.com/linkpulse/linkpulse/services/gateway/internal/web"
	"github.com/linkpulse/linkpulse/services/gateway/internal/ws"
)

// newPage builds the page. A token in it lets in whoever can load it.
func (s *Service) newPage() (http.Handler, error) {
	if addr := s.listener.Addr(); s.cfg.PageToken != "" && !isLoopback(addr) {
		return nil, fmt.Errorf("a token in the page would let everybody in who reaches %v: it is for loopback addresses only", addr)
	}
	_, hosts := s.access()
	return web.Handler(web.Config{
		Links: s.cfg.PageLinks, Token: s.cfg.PageToken,
		HostAllowed: func(host string) bool { return ws.HostAllowed(hosts, host) },
	})
}
