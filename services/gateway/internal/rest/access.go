package rest

import (
	"net/http"
	"net/url"
	"path"
	"strings"
)

// allowOrigin lets the pages of allowed origins read the answer (Fetch standard, CORS protocol). To others nothing is
// said, and their browsers keep the answer from them.
func (h *Handler) allowOrigin(header http.Header, r *http.Request) (allowed bool) {
	// Also where there is none: a cache must not give this answer to a page, nor to somebody else.
	header["Vary"] = h.vary
	origin := r.Header.Get("Origin")
	if origin == "" || !originAllowed(h.cfg.Origins, origin) {
		return false
	}
	header.Set("Access-Control-Allow-Origin", origin)
	header.Set("Access-Control-Expose-Headers", "ETag, Retry-After, WWW-Authenticate")
	return true
}

// preflight answers the question that a browser asks before a page's request with such headers.
func (h *Handler) preflight(methods, headers string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !h.cfg.HostAllowed(r.Host) {
			(&refusal{reason: reasonHost, detail: "the Host header names no host of this gateway"}).write(w)
			return
		}
		header := w.Header()
		if h.allowOrigin(header, r) {
			header.Set("Access-Control-Allow-Methods", methods)
			header.Set("Access-Control-Allow-Headers", headers)
			header.Set("Access-Control-Max-Age", "600")
		}
		header.Set("Allow", methods+", OPTIONS")
		w.WriteHeader(http.StatusNoContent)
	}
}

// originAllowed matches an origin as the WebSocket handshake does: patterns are those of path.Match, in any case.
func originAllowed(patterns []string, origin string) bool {
	u, err := url.Parse(origin)
	if err != nil {
		return false
	}
	target := strings.ToLower(u.Scheme + "://" + u.Host)
	for _, p := range patterns {
		if ok, err := path.Match(strings.ToLower(p), target); err == nil && ok {
			return true
		}
	}
	return false
}
