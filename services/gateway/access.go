package gateway

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"

	"github.com/go-chi/chi/v5/middleware"

	"github.com/linkpulse/linkpulse/pkg/auth"
	"github.com/linkpulse/linkpulse/services/gateway/internal/ws"
)

// Values of --auth.
const (
	authJWT = "jwt"
	authOff = "off"
)

// AccessConfig says who may connect, and how many of them.
type AccessConfig struct {
	Auth        string      `help:"Whether clients have to say who they are: jwt, with tokens that are signed by a key of --auth-jwks-url, --auth-key-files or --auth-secret-file; off, and then whoever can connect may see every link. There is no default: one of both must be said." enum:",jwt,off" default:"" placeholder:"jwt|off"`
	Tokens      auth.Config `embed:"" prefix:"auth-"`
	QueryTokens bool        `help:"Take a token from the query of a WebSocket handshake too (?access_token=…), which ends up in the logs of proxies. Tickets do not: see POST /v1/tickets." default:"false"`

	TrustedProxies []string `help:"Networks of proxies in front of this gateway, like 10.0.0.0/8, whose X-Forwarded-For says where clients are; without any, clients are those who connect." placeholder:"CIDR"`
	Origins        []string `help:"Origins beside its own that browsers may connect from, like https://dash.example.com; * stands for a part of one." placeholder:"ORIGIN"`
	Hosts          []string `help:"Names that requests may be addressed to; any by default, those of this machine when listening on loopback." placeholder:"HOST"`

	MaxConnections            int `help:"Connections at a time; more are answered 503. Each costs about 13 KiB, half of it in the kernel." default:"20000"`
	MaxPlainConnections       int `help:"Connections at a time that are no WebSockets, or not yet; for more, the one makes room that has waited longest for a request. 0 is no limit." default:"2048"`
	MaxAddressConnections     int `help:"Connections of a client address at a time, a /64 of IPv6 being one: so many WebSockets, more being answered 429, and so many others. 0 is no limit." default:"256"`
	MaxSubjectConnections     int `help:"Connections of the subject of a token at a time; 0 is no limit." default:"100"`
	MaxUnauthenticated        int `help:"Connections at a time that have not said yet who they are, for which they have five seconds; more are answered 503. 0 is no limit." default:"500"`
	MaxAddressUnauthenticated int `help:"Such connections of a client address; more are answered 429. 0 is no limit." default:"16"`
	MaxHandshakes             int `help:"WebSocket handshakes a second; more are answered 503. 0 is no limit." default:"500"`
	HandshakeBurst            int `help:"How many of them may come at once." default:"1000"`
	MaxAddressHandshakes      int `help:"WebSocket handshakes of a client address a second; more are answered 429. As many may come at once as it may have connections, and where that has no limit, this has none either. 0 is no limit." default:"50"`
}

// mostHandshakes is more than any machine does in a second. It keeps the time between two from being none.
const mostHandshakes = 1_000_000

// Check returns everything that is wrong with it.
func (c *AccessConfig) Check() error {
	errs := []error{c.checkAuth()}
	if c.MaxConnections < 1 {
		errs = append(errs, errors.New("--max-connections: must be at least 1"))
	}
	for _, limit := range []struct {
		flag  string
		value int
	}{
		{"--max-plain-connections", c.MaxPlainConnections},
		{"--max-address-connections", c.MaxAddressConnections},
		{"--max-subject-connections", c.MaxSubjectConnections},
		{"--max-unauthenticated", c.MaxUnauthenticated},
		{"--max-address-unauthenticated", c.MaxAddressUnauthenticated},
	} {
		if limit.value < 0 {
			errs = append(errs, fmt.Errorf("%s: must be at least 0, which is no limit", limit.flag))
		}
	}
	if c.MaxHandshakes < 0 || c.MaxHandshakes > mostHandshakes {
		errs = append(errs, fmt.Errorf("--max-handshakes: must be from 0, which is no limit, to %d", mostHandshakes))
	}
	if c.MaxAddressHandshakes < 0 || c.MaxAddressHandshakes > mostHandshakes {
		errs = append(errs, fmt.Errorf("--max-address-handshakes: must be from 0, which is no limit, to %d", mostHandshakes))
	}
	if c.MaxHandshakes > 0 && c.HandshakeBurst < 1 {
		errs = append(errs, errors.New("--handshake-burst: must be at least 1"))
	}
	for _, o := range c.Origins {
		errs = append(errs, checkOrigin(o))
	}
	if _, err := c.proxies(); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// checkAuth refuses a gateway that nobody has said of whether it asks who clients are: neither is to come about because a
// line of a configuration is missing.
func (c *AccessConfig) checkAuth() error {
	keys := c.Tokens.JWKSURL != "" || len(c.Tokens.KeyFiles) > 0 || c.Tokens.SecretFile != ""
	switch {
	case c.Auth == "":
		return errors.New("--auth: say whether clients have to show a token. --auth=jwt asks for one, and --auth-jwks-url, " +
			"--auth-key-files or --auth-secret-file says which keys sign them; with --auth=off whoever can connect sees every link")
	case c.Auth == authJWT:
		return c.Tokens.Check()
	case keys:
		return errors.New("--auth: it is off, and there are keys that tokens are signed with: nobody would look at them")
	case c.QueryTokens:
		return errors.New("--query-tokens: authentication is off, and nobody would look at them")
	}
	return nil
}

// proxies returns the networks of the proxies.
func (c *AccessConfig) proxies() ([]string, error) {
	var networks []string
	var errs []error
	for _, p := range c.TrustedProxies {
		network, err := netip.ParsePrefix(p)
		if addr, addrErr := netip.ParseAddr(p); err != nil && addrErr == nil && addr.Zone() == "" {
			network, err = netip.PrefixFrom(addr, addr.BitLen()), nil
		}
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("--trusted-proxies: %q is no network: write one like 10.0.0.0/8", p))
		case network.Bits() == 0:
			errs = append(errs, fmt.Errorf("--trusted-proxies: %q is everybody, and everybody could say where they are", p))
		case network.Addr().Is4In6():
			errs = append(errs, fmt.Errorf("--trusted-proxies: %q: write the network as IPv4", p))
		default:
			networks = append(networks, network.Masked().String())
		}
	}
	return networks, errors.Join(errs...)
}

// limits are those of connections.
func (c *AccessConfig) limits() ws.Limits {
	return ws.Limits{
		Connections: c.MaxConnections, PerAddress: c.MaxAddressConnections, PerSubject: c.MaxSubjectConnections,
		Unauthenticated: c.MaxUnauthenticated, UnauthenticatedPerAddress: c.MaxAddressUnauthenticated,
		Handshakes: c.MaxHandshakes, HandshakeBurst: c.HandshakeBurst, AddressHandshakes: c.MaxAddressHandshakes,
	}
}

// access returns the origins beside its own whose pages may use the gateway, and the names by which it may be addressed,
// any where there are none.
func (s *Service) access() (origins, hosts []string) {
	origins, hosts = slices.Clone(s.cfg.Access.Origins), s.cfg.Access.Hosts
	if isLoopback(s.listener.Addr()) {
		// Somebody's own machine: a page under development may connect, and nobody else's page by a rebound name.
		for _, host := range []string{"localhost", "127.0.0.1", `\[::1\]`} {
			origins = append(origins, "http://"+host, "http://"+host+":*")
		}
		if len(hosts) == 0 {
			hosts = []string{"localhost", "127.0.0.1", "::1"}
		}
	}
	return origins, hosts
}

func isLoopback(addr net.Addr) bool {
	tcp, ok := addr.(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}

// behindProxies finds out where the client of a request is, if it comes from a proxy that is trusted. Of X-Forwarded-For
// that is the last address that is no trusted proxy's: what stands in front of it is what the client says itself.
func (s *Service) behindProxies(next http.Handler) http.Handler {
	networks, err := s.cfg.Access.proxies()
	if err != nil || len(networks) == 0 { // an error was told when the configuration was checked
		return next
	}
	return middleware.ClientIPFromXFF(networks...)(next)
}

// clientAddress returns the address of the client of a request; the zero value: it is not known. Where a proxy says nothing
// of it that can be read, it is the proxy's own.
func clientAddress(r *http.Request) netip.Addr {
	if a := middleware.GetClientIPAddr(r.Context()); a.IsValid() {
		return a
	}
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return peer.Addr()
}
