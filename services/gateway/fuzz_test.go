package gateway

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// Whatever a request says of where it is from: of who is no proxy it is where it comes from, and of a proxy's client it is
// what a proxy says last that is no proxy.
func FuzzClientAddress(f *testing.F) {
	proxy, client, six := []byte{10, 1, 2, 3}, []byte{192, 0, 2, 1}, netip.MustParseAddr("2001:db8:ffff::1").AsSlice()
	for _, forwarded := range []string{
		"198.51.100.1", "198.51.100.1, 192.0.2.1", "192.0.2.1, 10.9.9.9,", "::ffff:192.0.2.1", "192.0.2.1:4711", "[2001:db8::1]", "fe80::1%eth0", ",,,", "10.1.1.1",
	} {
		for _, peer := range [][]byte{proxy, client, six, nil} {
			f.Add(peer, forwarded, "203.0.113.9")
		}
	}
	proxies := []string{"10.0.0.0/8", "2001:db8:ffff::/48"}
	isProxy := func(a netip.Addr) bool {
		return slices.ContainsFunc(proxies, func(p string) bool { return netip.MustParsePrefix(p).Contains(a) })
	}
	s := &Service{cfg: Config{Access: AccessConfig{TrustedProxies: proxies}}}
	var got netip.Addr
	handler := s.behindProxies(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = clientAddress(r) }))
	f.Fuzz(func(t *testing.T, peer []byte, forwarded, other string) {
		from, known := netip.AddrFromSlice(peer)
		r := httptest.NewRequest(http.MethodGet, "/ws", http.NoBody)
		if r.RemoteAddr = "pipe"; known {
			r.RemoteAddr = netip.AddrPortFrom(from, 4711).String()
		}
		r.Header["X-Forwarded-For"] = []string{other, forwarded}
		r.Header["X-Real-Ip"], r.Header["Forwarded"] = []string{other}, []string{"for=" + other}
		handler.ServeHTTP(httptest.NewRecorder(), r)
		want := from.Unmap()
		if isProxy(want) {
			for _, entry := range slices.Backward(strings.Split(other+","+forwarded, ",")) {
				if entry = strings.TrimSpace(entry); entry == "" {
					continue
				}
				a, err := netip.ParseAddr(entry)
				if a = a.Unmap().WithZone(""); err == nil && isProxy(a) {
					continue
				}
				if err == nil {
					want = a
				}
				break
			}
		}
		if got.Unmap() != want {
			t.Fatalf("the client of %s with %q is at %s, want %s", r.RemoteAddr, r.Header, got, want)
		}
	})
}
