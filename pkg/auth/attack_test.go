package auth_test

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"slices"
	"sort"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/linkpulse/linkpulse/pkg/auth"
)

// attacked is a verifier with several kinds of keys, the way that attacks want it.
func attacked(tb testing.TB) *auth.Verifier {
	tb.Helper()
	cfg, dir := ofExample(), tb.TempDir()
	keyFile(tb, dir, "k1", keys().ed)
	keyFile(tb, dir, "rsa", keys().rsa)
	keyFile(tb, dir, "ec", keys().p256)
	cfg.KeyFiles = []string{dir}
	return newVerifier(tb, cfg)
}

func TestAttacksOnTheAlgorithm(t *testing.T) {
	t.Parallel()
	v, claims := attacked(t), good().json()
	hs256 := func(header string, secret []byte) string {
		return craft(header, claims, jwt.SigningMethodHS256, secret)
	}
	public := publicPEM(t, keys().rsa.Public())
	der, err := x509.MarshalPKIXPublicKey(keys().rsa.Public())
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		token string
		want  auth.Reason
	}{
		"HS256 with the RSA key in PEM":           {hs256(`{"alg":"HS256","kid":"rsa"}`, public), auth.ReasonAlgorithm},
		"HS256 with the same without its newline": {hs256(`{"alg":"HS256","kid":"rsa"}`, public[:len(public)-1]), auth.ReasonAlgorithm},
		"HS256 with the RSA key in DER":           {hs256(`{"alg":"HS256","kid":"rsa"}`, der), auth.ReasonAlgorithm},
		"HS256 with the Ed25519 key":              {hs256(`{"alg":"HS256","kid":"k1"}`, keys().ed.Public().(ed25519.PublicKey)), auth.ReasonAlgorithm},
		"HS384":                                   {craft(`{"alg":"HS384","kid":"rsa"}`, claims, jwt.SigningMethodHS384, public), auth.ReasonAlgorithm},
		"PS256 with a key for RS256":              {craft(`{"alg":"PS256","kid":"rsa"}`, claims, jwt.SigningMethodPS256, keys().rsa), auth.ReasonAlgorithm},
		"RS512 with a key for RS256":              {craft(`{"alg":"RS512","kid":"rsa"}`, claims, jwt.SigningMethodRS512, keys().rsa), auth.ReasonAlgorithm},
		"RS256 said, RS512 signed":                {craft(`{"alg":"RS256","kid":"rsa"}`, claims, jwt.SigningMethodRS512, keys().rsa), auth.ReasonSignature},
		"RS256 with the id of an Ed25519 key":     {craft(`{"alg":"RS256","kid":"k1"}`, claims, jwt.SigningMethodRS256, keys().rsa), auth.ReasonAlgorithm},
		"EdDSA said, RS256 signed":                {craft(`{"alg":"EdDSA","kid":"k1"}`, claims, jwt.SigningMethodRS256, keys().rsa), auth.ReasonSignature},
		"ES384 with a key of P-256":               {craft(`{"alg":"ES384","kid":"ec"}`, claims, jwt.SigningMethodES256, keys().p256), auth.ReasonAlgorithm},
		"eddsa":                                   {craft(`{"alg":"eddsa","kid":"k1"}`, claims, jwt.SigningMethodEdDSA, keys().ed), auth.ReasonAlgorithm},
		"EdDSA with a blank":                      {craft(`{"alg":"EdDSA ","kid":"k1"}`, claims, jwt.SigningMethodEdDSA, keys().ed), auth.ReasonAlgorithm},
		"no alg":                                  {craft(`{"kid":"k1"}`, claims, jwt.SigningMethodEdDSA, keys().ed), auth.ReasonAlgorithm},
		"ALG":                                     {craft(`{"ALG":"EdDSA","kid":"k1"}`, claims, jwt.SigningMethodEdDSA, keys().ed), auth.ReasonAlgorithm},
		"alg null":                                {craft(`{"alg":null,"kid":"k1"}`, claims, jwt.SigningMethodEdDSA, keys().ed), auth.ReasonAlgorithm},
		"alg a list":                              {craft(`{"alg":["EdDSA"],"kid":"k1"}`, claims, jwt.SigningMethodEdDSA, keys().ed), auth.ReasonAlgorithm},
		"alg a number":                            {craft(`{"alg":0,"kid":"k1"}`, claims, jwt.SigningMethodEdDSA, keys().ed), auth.ReasonAlgorithm},
		"alg twice":                               {craft(`{"alg":"EdDSA","alg":"none","kid":"k1"}`, claims, jwt.SigningMethodEdDSA, keys().ed), auth.ReasonMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			wantRefused(t, v, tc.token, tc.want)
		})
	}
}

// None is no algorithm, however it is written, with whatever signature.
func TestAlgorithmNone(t *testing.T) {
	t.Parallel()
	v, claims := attacked(t), b64(good().json())
	for spelling := range 16 {
		name := []byte("none")
		for i := range name {
			if spelling>>i&1 == 1 {
				name[i] -= 'a' - 'A'
			}
		}
		for _, kid := range []string{"", `,"kid":"k1"`, `,"kid":"rsa"`} {
			header := b64(fmt.Sprintf(`{"alg":%q%s}`, name, kid))
			for _, signature := range []string{"", "AA", b64("none")} {
				wantRefused(t, v, header+"."+claims+"."+signature, auth.ReasonAlgorithm)
			}
		}
	}
	for _, name := range []string{"", " none", "none\\u0000", "n\\u006fne", "NULL", "\\u0000"} {
		wantRefused(t, v, b64(`{"alg":"`+name+`","kid":"k1"}`)+"."+claims+".", auth.ReasonAlgorithm)
	}
}

func TestAttacksOnTheKey(t *testing.T) {
	t.Parallel()
	v, claims := attacked(t), good().json()
	signed := func(header string) string { return craft(header, claims, jwt.SigningMethodEdDSA, keys().ed) }
	foreign := func(header string) string { return craft(header, claims, jwt.SigningMethodEdDSA, keys().otherEd) }
	inline, err := json.Marshal(jwkOf("k1", keys().otherEd))
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		token string
		want  auth.Reason
	}{
		"no kid":                       {signed(`{"alg":"EdDSA"}`), auth.ReasonKey},
		"kid empty":                    {signed(`{"alg":"EdDSA","kid":""}`), auth.ReasonKey},
		"kid null":                     {signed(`{"alg":"EdDSA","kid":null}`), auth.ReasonKey},
		"kid a number":                 {signed(`{"alg":"EdDSA","kid":1}`), auth.ReasonKey},
		"kid a list":                   {signed(`{"alg":"EdDSA","kid":["k1"]}`), auth.ReasonKey},
		"kid twice":                    {signed(`{"alg":"EdDSA","kid":"k1","kid":"rsa"}`), auth.ReasonMalformed},
		"KID":                          {signed(`{"alg":"EdDSA","KID":"k1"}`), auth.ReasonKey},
		"kid in other letters":         {signed(`{"alg":"EdDSA","kid":"K1"}`), auth.ReasonKey},
		"kid of nobody":                {signed(`{"alg":"EdDSA","kid":"k2"}`), auth.ReasonKey},
		"kid a path":                   {signed(`{"alg":"EdDSA","kid":"../../../../dev/null"}`), auth.ReasonKey},
		"kid a file":                   {signed(`{"alg":"EdDSA","kid":"k1.pem"}`), auth.ReasonKey},
		"kid SQL":                      {signed(`{"alg":"EdDSA","kid":"x' UNION SELECT 'k1"}`), auth.ReasonKey},
		"kid with a zero byte":         {signed(`{"alg":"EdDSA","kid":"k1\u0000"}`), auth.ReasonKey},
		"kid a line for the log":       {signed(`{"alg":"EdDSA","kid":"k1\n{\"level\":\"error\"}"}`), auth.ReasonKey},
		"kid long":                     {signed(`{"alg":"EdDSA","kid":"` + strings.Repeat("k", 256) + `"}`), auth.ReasonKey},
		"another's key with our id":    {foreign(`{"alg":"EdDSA","kid":"k1"}`), auth.ReasonSignature},
		"the key itself in the header": {foreign(`{"alg":"EdDSA","kid":"k1","jwk":` + string(inline) + `}`), auth.ReasonSignature},
		"the key's address, jku":       {foreign(`{"alg":"EdDSA","kid":"k1","jku":"https://evil.example/jwks.json"}`), auth.ReasonSignature},
		"the key's address, x5u":       {foreign(`{"alg":"EdDSA","kid":"k1","x5u":"https://evil.example/cert.pem"}`), auth.ReasonSignature},
		"the key's certificate":        {foreign(`{"alg":"EdDSA","kid":"k1","x5c":["MIIB"],"x5t":"x"}`), auth.ReasonSignature},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			wantRefused(t, v, tc.token, tc.want)
		})
	}
	// A header may say where a key is, and nobody looks.
	wantAccepted(t, v, signed(`{"alg":"EdDSA","kid":"k1","jku":"https://evil.example/","x5u":"https://evil.example/","jwk":{},"zip":"DEF","b64":false}`))
}

func TestAttacksOnTheForm(t *testing.T) {
	t.Parallel()
	v := attacked(t)
	token := edToken(good().json())
	part := strings.Split(token, ".")
	claims := good().json()
	header := func(h string) string { return craft(h, claims, jwt.SigningMethodEdDSA, keys().ed) }
	// The last character of a signature of 64 bytes has four bits that mean nothing.
	const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := strings.IndexByte(digits, token[len(token)-1])
	for name, tc := range map[string]struct {
		token string
		want  auth.Reason
	}{
		"nothing":                     {"", auth.ReasonMissing},
		"a blank":                     {" ", auth.ReasonMalformed},
		"dots":                        {"..", auth.ReasonMalformed},
		"one part":                    {part[0], auth.ReasonMalformed},
		"two parts":                   {part[0] + "." + part[1], auth.ReasonMalformed},
		"four parts":                  {token + ".", auth.ReasonMalformed},
		"five parts, as if encrypted": {token + ".AA.AA", auth.ReasonMalformed},
		"no signature":                {part[0] + "." + part[1] + ".", auth.ReasonSignature},
		"half a signature":            {part[0] + "." + part[1] + "." + part[2][:40], auth.ReasonSignature},
		"a signature and more":        {token + "AAAA", auth.ReasonSignature},
		"a signature of zeros":        {part[0] + "." + part[1] + "." + strings.Repeat("A", 86), auth.ReasonSignature},
		"garbage behind":              {token + "!", auth.ReasonMalformed},
		"a newline behind":            {token + "\n", auth.ReasonMalformed},
		"a newline within":            {part[0] + ".\r\n" + part[1] + "." + part[2], auth.ReasonMalformed},
		"a blank in front":            {" " + token, auth.ReasonMalformed},
		"Bearer in front":             {"Bearer " + token, auth.ReasonMalformed},
		"padding":                     {token + "==", auth.ReasonMalformed},
		"base64 of the other kind":    {part[0] + "." + part[1] + "." + strings.Repeat("+/", 43), auth.ReasonMalformed},
		"other last bits":             {token[:len(token)-1] + digits[last^1:last^1+1], auth.ReasonMalformed},
		"other claims":                {part[0] + "." + b64(good().with(m{"sub": "eve"}).json()) + "." + part[2], auth.ReasonSignature},
		"another header":              {b64(`{"typ":"JWT","alg":"EdDSA","kid":"k1"}`) + "." + part[1] + "." + part[2], auth.ReasonSignature},
		"oversized":                   {edToken(good().with(m{"pad": strings.Repeat("x", 4000)}).json()), auth.ReasonMalformed},
		"a megabyte":                  {strings.Repeat("A", 1<<20), auth.ReasonMalformed},
		"JSON serialization":          {`{"payload":"` + part[1] + `","protected":"` + part[0] + `","signature":"` + part[2] + `"}`, auth.ReasonMalformed},
		"header no JSON":              {b64("x") + "." + part[1] + "." + part[2], auth.ReasonMalformed},
		"header a list":               {header(`["EdDSA"]`), auth.ReasonMalformed},
		"header and more":             {header(`{"alg":"EdDSA","kid":"k1"}{}`), auth.ReasonMalformed},
		"header cut":                  {header(`{"alg":"EdDSA","kid":"k1"`), auth.ReasonMalformed},
		"header not UTF-8":            {header("{\"alg\":\"EdDSA\",\"kid\":\"k1\",\"x\":\"\xff\"}"), auth.ReasonMalformed},
		"crit":                        {header(`{"alg":"EdDSA","kid":"k1","crit":["exp"],"exp":1}`), auth.ReasonMalformed},
		"crit of nothing":             {header(`{"alg":"EdDSA","kid":"k1","crit":[]}`), auth.ReasonMalformed},
		"b64 that must be understood": {header(`{"alg":"EdDSA","kid":"k1","crit":["b64"],"b64":false}`), auth.ReasonMalformed},
		"a nested token":              {header(`{"alg":"EdDSA","kid":"k1","cty":"JWT"}`), auth.ReasonMalformed},
		"a nested token, unsaid":      {craft(`{"alg":"EdDSA","kid":"k1"}`, token, jwt.SigningMethodEdDSA, keys().ed), auth.ReasonMalformed},
		"typ of a logout":             {header(`{"alg":"EdDSA","kid":"k1","typ":"logout+jwt"}`), auth.ReasonMalformed},
		"typ null":                    {header(`{"alg":"EdDSA","kid":"k1","typ":null}`), auth.ReasonMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			wantRefused(t, v, tc.token, tc.want)
		})
	}
	for _, kind := range []string{`"JWT"`, `"jwt"`, `"at+jwt"`, `"application/at+JWT"`} {
		wantAccepted(t, v, header(`{"alg":"EdDSA","kid":"k1","typ":`+kind+`}`))
	}
	wantAccepted(t, v, token)
}

func TestAttacksOnTheClaims(t *testing.T) {
	t.Parallel()
	keys()
	synctest.Test(t, attackClaims)
}

func attackClaims(t *testing.T) {
	v := attacked(t)
	now := time.Now().Unix()
	long := make([]string, 101)
	for i := range long {
		long[i] = fmt.Sprintf("l%d", i)
	}
	// without a member, to be given one in another way
	but := func(name, instead string) string {
		return strings.TrimSuffix(good().with(m{name: nil}).json(), "}") + "," + instead + "}"
	}
	for name, tc := range map[string]struct {
		claims string
		want   auth.Reason
	}{
		"no iss":                   {good().with(m{"iss": nil}).json(), auth.ReasonClaims},
		"iss of another":           {good().with(m{"iss": "https://id.example/"}).json(), auth.ReasonIssuer},
		"iss in other letters":     {good().with(m{"iss": "HTTPS://ID.EXAMPLE"}).json(), auth.ReasonIssuer},
		"iss a list":               {good().with(m{"iss": []string{"https://id.example"}}).json(), auth.ReasonClaims},
		"iss null":                 {but("iss", `"iss":null`), auth.ReasonClaims},
		"no aud":                   {good().with(m{"aud": nil}).json(), auth.ReasonClaims},
		"aud of another":           {good().with(m{"aud": "linkpulse-admin"}).json(), auth.ReasonAudience},
		"aud empty":                {good().with(m{"aud": ""}).json(), auth.ReasonAudience},
		"aud of nobody":            {good().with(m{"aud": []string{}}).json(), auth.ReasonAudience},
		"aud of others":            {good().with(m{"aud": []string{"a", "b"}}).json(), auth.ReasonAudience},
		"aud of one and a number":  {good().with(m{"aud": []any{"linkpulse", 1}}).json(), auth.ReasonClaims},
		"aud an object":            {good().with(m{"aud": m{"linkpulse": true}}).json(), auth.ReasonClaims},
		"aud null":                 {but("aud", `"aud":null`), auth.ReasonClaims},
		"no sub":                   {good().with(m{"sub": nil}).json(), auth.ReasonClaims},
		"sub empty":                {good().with(m{"sub": ""}).json(), auth.ReasonClaims},
		"sub a number":             {good().with(m{"sub": 7}).json(), auth.ReasonClaims},
		"sub long":                 {good().with(m{"sub": strings.Repeat("a", 256)}).json(), auth.ReasonClaims},
		"sub a line for the log":   {good().with(m{"sub": "ada\n{}"}).json(), auth.ReasonClaims},
		"sub for a terminal":       {good().with(m{"sub": "\x1b[2Jada"}).json(), auth.ReasonClaims},
		"Sub":                      {good().with(m{"sub": nil, "Sub": "ada"}).json(), auth.ReasonClaims},
		"sub twice":                {but("sub", `"sub":"ada","sub":"root"`), auth.ReasonMalformed},
		"sub twice, once escaped":  {but("sub", `"sub":"ada","su\u0062":"root"`), auth.ReasonMalformed},
		"unknown twice":            {but("sub", `"sub":"ada","x":1,"x":2`), auth.ReasonMalformed},
		"jti long":                 {good().with(m{"jti": strings.Repeat("j", 256)}).json(), auth.ReasonClaims},
		"jti empty":                {good().with(m{"jti": ""}).json(), auth.ReasonClaims},
		"jti a number":             {good().with(m{"jti": 1}).json(), auth.ReasonClaims},
		"no exp":                   {good().with(m{"exp": nil}).json(), auth.ReasonClaims},
		"EXP":                      {good().with(m{"exp": nil, "EXP": now + 60}).json(), auth.ReasonClaims},
		"exp a string":             {good().with(m{"exp": strconv.FormatInt(now+60, 10)}).json(), auth.ReasonClaims},
		"exp null":                 {but("exp", `"exp":null`), auth.ReasonClaims},
		"exp true":                 {but("exp", `"exp":true`), auth.ReasonClaims},
		"exp a list":               {but("exp", `"exp":[9999999999]`), auth.ReasonClaims},
		"exp negative":             {but("exp", `"exp":-1`), auth.ReasonClaims},
		"exp huge":                 {but("exp", `"exp":9223372036854775807`), auth.ReasonClaims},
		"exp beyond all":           {but("exp", `"exp":1e400`), auth.ReasonClaims},
		"exp far away":             {but("exp", `"exp":253402300799`), auth.ReasonLifetime},
		"exp in milliseconds":      {good().with(m{"exp": (now + 60) * 1000}).json(), auth.ReasonClaims},
		"expired":                  {good().with(m{"iat": now - 7200, "exp": now - 30}).json(), auth.ReasonExpired},
		"expired, in a fraction":   {but("exp", fmt.Sprintf(`"exp":%d.99`, now-31)), auth.ReasonClaims}, // before iat
		"exp at iat":               {good().with(m{"exp": now}).json(), auth.ReasonClaims},
		"good for too long":        {good().with(m{"exp": now + 24*3600 + 1}).json(), auth.ReasonLifetime},
		"good for long, iat moved": {good().with(m{"iat": now - 3600, "exp": now + 23*3600 + 1}).json(), auth.ReasonLifetime},
		"no iat":                   {good().with(m{"iat": nil}).json(), auth.ReasonClaims},
		"iat a string":             {good().with(m{"iat": "now"}).json(), auth.ReasonClaims},
		"iat in the future":        {good().with(m{"iat": now + 31, "exp": now + 120}).json(), auth.ReasonNotYet},
		"nbf in the future":        {good().with(m{"nbf": now + 31}).json(), auth.ReasonNotYet},
		"nbf a string":             {good().with(m{"nbf": "0"}).json(), auth.ReasonClaims},
		"no links":                 {good().with(m{"links": nil}).json(), auth.ReasonGrants},
		"links of nothing":         {good().with(m{"links": []string{}}).json(), auth.ReasonGrants},
		"links a string":           {good().with(m{"links": "*"}).json(), auth.ReasonGrants},
		"links an object":          {good().with(m{"links": m{"*": true}}).json(), auth.ReasonGrants},
		"links null":               {but("links", `"links":null`), auth.ReasonGrants},
		"links of a number":        {good().with(m{"links": []any{"a", 1}}).json(), auth.ReasonGrants},
		"links of null":            {good().with(m{"links": []any{nil}}).json(), auth.ReasonGrants},
		"links of a list":          {good().with(m{"links": []any{[]string{"*"}}}).json(), auth.ReasonGrants},
		"101 links":                {good().with(m{"links": long}).json(), auth.ReasonGrants},
		"links of a pattern":       {good().with(m{"links": []string{"a*b"}}).json(), auth.ReasonGrants},
		"no object":                {`"ada"`, auth.ReasonMalformed},
		"nothing":                  {``, auth.ReasonMalformed},
		"an object and more":       {good().json() + "x", auth.ReasonMalformed},
		"two objects":              {good().json() + good().json(), auth.ReasonMalformed},
		"not UTF-8":                {but("x", "\"x\":\"\xff\""), auth.ReasonMalformed},
		"deep":                     {but("x", `"x":`+strings.Repeat("[", 1200)+strings.Repeat("]", 1200)), ""},
		"101 members":              {many(101), auth.ReasonMalformed},
		"deep and cut":             {but("x", `"x":`+strings.Repeat("[", 2000)), auth.ReasonMalformed},
	} {
		if _, err := v.Verify(t.Context(), edToken(tc.claims)); reasonOf(t, err) != tc.want {
			t.Errorf("%s: %v, want %q", name, err, tc.want)
		}
	}
}

// many are claims of so many members.
func many(members int) string {
	claims := good()
	for i := 0; len(claims) < members; i++ {
		claims[strconv.Itoa(i)] = 0
	}
	return claims.json()
}

// What is on the right side of a bound is taken.
func TestVerifyAtTheBounds(t *testing.T) {
	t.Parallel()
	keys()
	synctest.Test(t, verifyBounds)
}

func verifyBounds(t *testing.T) {
	v := attacked(t)
	now := time.Now().Unix()
	grants := make([]string, auth.MaxGrants)
	for i := range grants {
		grants[i] = fmt.Sprintf("l%d", i)
	}
	for name, claims := range map[string]m{
		"just expired":           good().with(m{"iat": now - 600, "exp": now - 29}),
		"issued a moment ahead":  good().with(m{"iat": now + 30}),
		"not before a moment":    good().with(m{"nbf": now + 30}),
		"for as long as may be":  good().with(m{"exp": now + 24*3600}),
		"exp with a fraction":    good().with(m{"exp": float64(now) + 60.5}),
		"aud among others":       good().with(m{"aud": []string{"other", "linkpulse"}}),
		"a name of 255 bytes":    good().with(m{"sub": strings.Repeat("ä", 127) + "a", "jti": strings.Repeat("j", 255)}),
		"a hundred links":        good().with(m{"links": grants}),
		"a subject with slashes": good().with(m{"sub": "realm/users/ada lovelace"}),
		"claims of others":       good().with(m{"scope": "read", "azp": "web", "EXP": 0, "Links": []string{"*"}}),
		"no jti":                 good().with(m{"jti": nil}),
	} {
		if _, err := v.Verify(t.Context(), edToken(claims.json())); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	wantAccepted(t, v, edToken(many(100)))
	// As many bytes as may be, and one more.
	padded := func(bytes int) string { return edToken(good().with(m{"pad": strings.Repeat("x", bytes)}).json()) }
	pad := sort.Search(auth.MaxToken, func(bytes int) bool { return len(padded(bytes+1)) > auth.MaxToken })
	wantAccepted(t, v, padded(pad))
	wantRefused(t, v, padded(pad+1), auth.ReasonMalformed)
}

func TestVerifyTellsWhose(t *testing.T) {
	t.Parallel()
	claims := good()
	id := wantAccepted(t, attacked(t), edToken(claims.json()))
	if id.Subject != "ada" || id.TokenID != "t-1" || id.IssuedAt.Unix() != claims["iat"] || id.ExpiresAt.Unix() != claims["exp"] {
		t.Errorf("%+v", id)
	}
	if !slices.Equal(id.Grants.Patterns(), []string{"acme:*", "x7Kp2"}) || !id.Allows("acme:1") || id.Allows("x7Kp3") {
		t.Errorf("%q", id.Grants.Patterns())
	}
}

// A refusal says nothing that its reader does not know: neither keys nor what would have been good.
func TestRefusalsTellNothing(t *testing.T) {
	t.Parallel()
	v := attacked(t)
	for _, token := range []string{
		craft(`{"alg":"EdDSA","kid":"secret-kid"}`, good().json(), jwt.SigningMethodEdDSA, keys().ed),
		edToken(good().with(m{"iss": "x"}).json()),
		edToken(good().with(m{"aud": "x"}).json()),
		edToken(good().with(m{"sub": "\x1b[2J"}).json()),
		b64(`{"alg":"RS256","kid":"k1"}`) + "." + b64(good().json()) + "." + base64.RawURLEncoding.EncodeToString(make([]byte, 256)),
	} {
		_, err := v.Verify(t.Context(), token)
		for _, word := range []string{"secret-kid", "id.example", "k1", "EdDSA", "\x1b", "linkpulse"} {
			if err == nil || strings.Contains(err.Error(), word) {
				t.Errorf("%v tells %q", err, word)
			}
		}
	}
}

// A private key in the place of a public one is a mistake that must not work.
func TestPrivateKeysAreRefused(t *testing.T) {
	t.Parallel()
	der, err := x509.MarshalPKCS8PrivateKey(keys().ed)
	if err != nil {
		t.Fatal(err)
	}
	cfg := ofExample()
	cfg.KeyFiles = []string{writeFile(t, t.TempDir()+"/k1.pem", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))}
	if _, err := auth.New(cfg); err == nil || !strings.Contains(err.Error(), "Give the public one") {
		t.Errorf("%v", err)
	}
}
