package apikey

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

const (
	keyA    = "lpk_acme-1_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	keyB    = "lpk_bird-1_BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB"
	macText = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	signedA = "t=1769860804,k=acme-1,v1=" + macText
)

// header makes a header of names and values, with a value of its own for each name that comes again.
func header(fields ...string) http.Header {
	h := http.Header{}
	for i := 0; i < len(fields); i += 2 {
		h.Add(fields[i], fields[i+1])
	}
	return h
}

func TestRead(t *testing.T) {
	t.Parallel()
	for _, value := range []string{"Bearer " + keyA, "bearer " + keyA, "BEARER    " + keyA} {
		p, err := Read(header("Authorization", value))
		if err != nil || p.ID() != "acme-1" || p.Signed() || p.key.Reveal() != keyA || p.Hash() != p.key.Hash() {
			t.Errorf("%q is %v: %v", value, p, err)
		}
	}
	p, err := Read(header("Linkpulse-Signature", signedA))
	if err != nil || p.ID() != "acme-1" || !p.Signed() || p.at != 1769860804 || p.mac[1] != 0x23 || p.mac[31] != 0xef || p.header() != signedA {
		t.Errorf("%v, signed at %d: %v", p, p.at, err)
	}
	if p, err = Read(header("Linkpulse-Signature", "t=99999999999,k="+strings.Repeat("a", 32)+",v1="+macText)); err != nil || p.at != 99999999999 {
		t.Errorf("the longest: %v", err)
	}
}

// Everything that only looks like credentials, or like more than one of them.
func TestReadRefuses(t *testing.T) {
	t.Parallel()
	const auth, sig = "Authorization", "Linkpulse-Signature"
	sign := func(t, k, v string) []string { return []string{sig, "t=" + t + ",k=" + k + ",v1=" + v} }
	for name, tc := range map[string]struct {
		fields []string
		reason Reason
	}{
		"nothing":                        {nil, ReasonMissing},
		"a cookie":                       {[]string{"Cookie", "Authorization=Bearer " + keyA}, ReasonMissing},
		"a proxy's":                      {[]string{"Proxy-Authorization", "Bearer " + keyA}, ReasonMissing},
		"empty":                          {[]string{auth, ""}, ReasonMalformed},
		"two keys":                       {[]string{auth, "Bearer " + keyA, auth, "Bearer " + keyB}, ReasonMalformed},
		"one key twice":                  {[]string{auth, "Bearer " + keyA, auth, "Bearer " + keyA}, ReasonMalformed},
		"two keys in one header":         {[]string{auth, "Bearer " + keyA + ", Bearer " + keyB}, ReasonMalformed},
		"a key and an empty one":         {[]string{auth, "Bearer " + keyA, auth, ""}, ReasonMalformed},
		"a key and a signature":          {[]string{auth, "Bearer " + keyA, sig, signedA}, ReasonMalformed},
		"two signatures":                 {[]string{sig, signedA, sig, signedA}, ReasonMalformed},
		"two signatures in one header":   {[]string{sig, signedA + "," + signedA}, ReasonMalformed},
		"no scheme":                      {[]string{auth, keyA}, ReasonMalformed},
		"scheme alone":                   {[]string{auth, "Bearer"}, ReasonMalformed},
		"scheme and a space":             {[]string{auth, "Bearer "}, ReasonMalformed},
		"another scheme":                 {[]string{auth, "Basic " + keyA}, ReasonMalformed},
		"scheme with more":               {[]string{auth, "Bearerx " + keyA}, ReasonMalformed},
		"no-break space":                 {[]string{auth, "Bearer\u00a0" + keyA}, ReasonMalformed},
		"Turkish scheme":                 {[]string{auth, "BEAREʀ " + keyA}, ReasonMalformed},
		"tab":                            {[]string{auth, "Bearer\t" + keyA}, ReasonMalformed},
		"space in front":                 {[]string{auth, " Bearer " + keyA}, ReasonMalformed},
		"space behind":                   {[]string{auth, "Bearer " + keyA + " "}, ReasonMalformed},
		"quotes":                         {[]string{auth, `Bearer "` + keyA + `"`}, ReasonMalformed},
		"key in lower case":              {[]string{auth, "Bearer " + strings.ToLower(keyA)}, ReasonMalformed},
		"key cut short":                  {[]string{auth, "Bearer " + keyA[:len(keyA)-1]}, ReasonMalformed},
		"key with one more":              {[]string{auth, "Bearer " + keyA + "A"}, ReasonMalformed},
		"zero byte":                      {[]string{auth, "Bearer " + keyA + "\x00"}, ReasonMalformed},
		"line break":                     {[]string{auth, "Bearer " + keyA + "\r\nX: y"}, ReasonMalformed},
		"very long":                      {[]string{auth, "Bearer " + strings.Repeat("lpk_", 1<<18)}, ReasonMalformed},
		"spaces without end":             {[]string{auth, "Bearer" + strings.Repeat(" ", 1<<20)}, ReasonMalformed},
		"signature: empty":               {[]string{sig, ""}, ReasonMalformed},
		"signature: one field":           {[]string{sig, "t=1769860804"}, ReasonMalformed},
		"signature: no key":              {[]string{sig, "t=1769860804,v1=" + macText}, ReasonMalformed},
		"signature: another order":       {[]string{sig, "k=acme-1,t=1769860804,v1=" + macText}, ReasonMalformed},
		"signature: another version":     {[]string{sig, "t=1769860804,k=acme-1,v2=" + macText}, ReasonMalformed},
		"signature: one more":            {[]string{sig, signedA + ",v2=0"}, ReasonMalformed},
		"signature: one twice":           {[]string{sig, "t=1,t=1769860804,k=acme-1,v1=" + macText}, ReasonMalformed},
		"signature: spaces":              {[]string{sig, "t=1769860804, k=acme-1, v1=" + macText}, ReasonMalformed},
		"signature: leading zero":        {sign("0176986080", "acme-1", macText), ReasonMalformed},
		"signature: sign":                {sign("+1769860804", "acme-1", macText), ReasonMalformed},
		"signature: negative":            {sign("-1769860804", "acme-1", macText), ReasonMalformed},
		"signature: no time":             {sign("", "acme-1", macText), ReasonMalformed},
		"signature: time with a point":   {sign("1769860804.5", "acme-1", macText), ReasonMalformed},
		"signature: time of 12 digits":   {sign("176986080400", "acme-1", macText), ReasonMalformed},
		"signature: Arabic digits":       {sign("١٧٦٩", "acme-1", macText), ReasonMalformed},
		"signature: no id":               {sign("1769860804", "", macText), ReasonMalformed},
		"signature: id with a line":      {sign("1769860804", "acme\n", macText), ReasonMalformed},
		"signature: long id":             {sign("1769860804", strings.Repeat("a", 33), macText), ReasonMalformed},
		"signature: upper case":          {sign("1769860804", "acme-1", strings.ToUpper(macText)), ReasonMalformed},
		"signature: short":               {sign("1769860804", "acme-1", macText[1:]), ReasonMalformed},
		"signature: long":                {sign("1769860804", "acme-1", macText+"0"), ReasonMalformed},
		"signature: no hex":              {sign("1769860804", "acme-1", "g"+macText[1:]), ReasonMalformed},
		"signature: very long":           {sign("1769860804", "acme-1", strings.Repeat("0", 1<<20)), ReasonMalformed},
		"signature: a name that is like": {[]string{"Linkpulse_signature", signedA}, ReasonMissing},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, err := Read(header(tc.fields...))
			refused, ok := errors.AsType[*RefusedError](err)
			if !ok || refused.Reason != tc.reason || p != (Presented{}) {
				t.Fatalf("%v, %v; want %s", p, err, tc.reason)
			}
			for _, sent := range []string{"AAAA", "BBBB", "acme", "bird", "0123", "\x00", "\n"} {
				if strings.Contains(err.Error(), sent) {
					t.Errorf("%q was sent and is in %v", sent, err)
				}
			}
		})
	}
}

func TestTimely(t *testing.T) {
	t.Parallel()
	now := time.Unix(1769860804, 999e6)
	for off, want := range map[time.Duration]bool{
		0: true, 300 * time.Second: true, -300 * time.Second: true, 301 * time.Second: false, -301 * time.Second: false,
		24 * time.Hour: false,
	} {
		p, err := Read(header("Linkpulse-Signature", "t="+strconv.FormatInt(now.Add(off).Unix(), 10)+",k=a,v1="+macText))
		if err != nil || p.Timely(now) != want {
			t.Errorf("%v from now: %v, %v", off, p.Timely(now), err)
		}
	}
	for _, at := range []string{"1", "99999999999"} {
		if p, err := Read(header("Linkpulse-Signature", "t="+at+",k=a,v1="+macText)); err != nil || p.Timely(now) {
			t.Errorf("%s is near now, %v", at, err)
		}
	}
}

func TestReadDoesNotAllocate(t *testing.T) {
	// Not parallel: AllocsPerRun counts what the whole process allocates.
	for name, h := range map[string]http.Header{
		"key": header("Authorization", "Bearer "+keyA), "signature": header("Linkpulse-Signature", signedA),
		"nothing": {}, "malformed": header("Authorization", "Bearer x"),
	} {
		if n := testing.AllocsPerRun(100, func() {
			p, err := Read(h)
			if err == nil && p.Hash() == ([32]byte{}) {
				t.Error("no hash")
			}
		}); n > 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func TestReasons(t *testing.T) {
	t.Parallel()
	seen := map[Reason]bool{}
	for _, r := range Reasons() {
		seen[r] = true
	}
	for _, e := range []*RefusedError{errMissing, errSeveral, errBearer, errForm, ErrKey(), ErrExpired(), ErrTime(), ErrSignature()} {
		if !seen[e.Reason] || e.Detail == "" || strings.ContainsFunc(e.Detail, func(r rune) bool { return r < ' ' || r > '~' }) {
			t.Errorf("%+v", e)
		}
	}
	if len(seen) != 6 {
		t.Errorf("%d reasons", len(seen))
	}
}

// Whatever a header is, it is read without a panic, as something whose id may be logged, or not at all; and a signature is
// read in one form alone.
func FuzzRead(f *testing.F) {
	for _, v := range []string{"", "Bearer " + keyA, "bearer  " + keyB, "Basic x", "Bearer lpk__", "Bearer \n"} {
		f.Add(v, "")
	}
	for _, v := range []string{signedA, "t=1,k=a,v1=" + macText, "t=,k=,v1=", ",,", "t=1,k=\x1b[31m,v1=" + macText} {
		f.Add("", v)
	}
	f.Fuzz(func(t *testing.T, bearer, signature string) {
		h := http.Header{}
		if bearer != "" {
			h["Authorization"] = []string{bearer}
		}
		if signature != "" {
			h[SignatureHeader] = []string{signature}
		}
		p, err := Read(h)
		if err != nil {
			if refused, ok := errors.AsType[*RefusedError](err); !ok || refused.Detail == "" || p != (Presented{}) {
				t.Fatalf("%v, %v", p, err)
			}
			return
		}
		if CheckID(p.ID()) != nil || p.Signed() != (signature != "") {
			t.Fatalf("%v of %q and %q", p, bearer, signature)
		}
		if p.Signed() {
			if p.header() != signature {
				t.Fatalf("%q is read as %q", signature, p.header())
			}
		} else if k := p.key.Reveal(); !strings.HasSuffix(bearer, " "+k) || !strings.EqualFold(strings.TrimSpace(strings.TrimSuffix(bearer, k)), "Bearer") {
			t.Fatalf("%q is read as %q", bearer, k)
		}
	})
}
