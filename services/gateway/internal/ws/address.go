package ws

import (
	"encoding/binary"
	"net/netip"
)

// address is whom connections are counted for: an IPv4 address, or the /64 of an IPv6 address, which is what one customer
// has. It is one number, because every connection keeps its own. 0 is that of clients whose address nobody knows; they
// are counted together.
type address uint64

// mappedV4 is in front of an IPv4 address: no /64 of the Internet begins like that, 0000::/8 is reserved (RFC 4291).
const mappedV4 = 0x0000_ffff_0000_0000

// addressOf returns what an address is counted for.
func addressOf(a netip.Addr) address {
	a = a.Unmap()
	switch {
	case a.Is4():
		b := a.As4()
		return address(mappedV4 | uint64(binary.BigEndian.Uint32(b[:])))
	case a.Is6():
		b := a.As16()
		return address(binary.BigEndian.Uint64(b[:8]))
	}
	return 0
}
