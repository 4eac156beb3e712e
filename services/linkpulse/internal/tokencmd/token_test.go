package tokencmd

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alecthomas/kong"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/linkpulse/linkpulse/pkg/auth"
	"github.com/linkpulse/linkpulse/pkg/auth/mint"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// outcome is what a command came to.
type outcome struct {
	stdout, stderr string
	err            error
}

// code is what the process would end with.
func (o outcome) code() int {
	coded, ok := errors.AsType[interface {
		error
		ExitCode() int
	}](o.err)
	switch {
	case o.err == nil:
		return 0
	case ok:
		return coded.ExitCode()
	default:
		return 1
	}
}

// env is a process of a test.
type env struct {
	stdin     string
	transport http.RoundTripper
}

// run runs a command as the program does, by its arguments.
func (e env) run(t *testing.T, args ...string) outcome {
	t.Helper()
	var cmds struct {
		Token Cmd `cmd:""`
	}
	parser, err := kong.New(&cmds)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := parser.Parse(append([]string{"token"}, args...))
	if err != nil {
		return outcome{err: err}
	}
	cmd, err := cmds.Token.Find(strings.Fields(parsed.Command())[1])
	if err != nil {
		t.Fatal(err)
	}
	if c, ok := cmd.(interface{ Check() error }); ok && c.Check() != nil {
		return outcome{err: c.Check()}
	}
	var stdout, stderr strings.Builder
	err = cmd.Run(t.Context(), Env{
		Stdin: strings.NewReader(e.stdin), Stdout: &stdout, Stderr: &stderr, Terminal: true, Log: zap.NewNop(), Transport: e.transport,
	})
	return outcome{stdout.String(), stderr.String(), err}
}

func must(t *testing.T, o outcome) outcome {
	t.Helper()
	if o.err != nil {
		t.Fatal(o.err)
	}
	return o
}

// From nothing to a token that a gateway takes: what is printed on the way is what one has to do next.
func TestKeygenMintCheck(t *testing.T) {
	t.Parallel()
	for name, keygen := range map[string][]string{"a pair of keys": {"keygen"}, "a secret": {"keygen", "--secret"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			made := must(t, env{}.run(t, append(keygen, "--dir", dir)...))
			key := regexp.MustCompile(`--key=\S+`).FindString(made.stdout)
			setting := regexp.MustCompile(`--auth-\S+`).FindString(made.stdout)
			if !regexp.MustCompile(`/\d{4}-\d\d-\d\d-[0-9a-f]{4}\.(key|secret)$`).MatchString(key) || setting == "" {
				t.Fatal(made.stdout)
			}
			minted := must(t, env{}.run(t, "mint", key, "--sub=ada", "--links=acme:*,x7Kp2"))
			token := strings.TrimSpace(minted.stdout)
			id := regexp.MustCompile(`revoke --token=(\S+)`).FindStringSubmatch(minted.stderr)
			if strings.Count(token, ".") != 2 || id == nil || strings.Contains(minted.stderr, token) {
				t.Fatalf("%+v", minted)
			}
			for _, o := range []outcome{
				must(t, env{}.run(t, "check", setting, token)),
				must(t, env{stdin: token + "\n"}.run(t, "check", setting)),
				must(t, env{stdin: " " + token}.run(t, "check", setting, "-")),
			} {
				for _, want := range []string{"accepted: a token of ada\n", id[1], ", in 59m", "every link that begins with acme:\n", " x7Kp2\n"} {
					if !strings.Contains(o.stdout, want) {
						t.Errorf("%s does not tell %q", o.stdout, want)
					}
				}
			}
			var report checkReport
			o := must(t, env{}.run(t, "check", setting, "--json", token))
			if err := json.Unmarshal([]byte(o.stdout), &report); err != nil || !report.Accepted || report.Subject != "ada" || report.TokenID != id[1] ||
				!slices.Equal(report.Links, []string{"acme:*", "x7Kp2"}) || report.ExpiresAt.Sub(*report.IssuedAt) != time.Hour {
				t.Errorf("%s: %v", o.stdout, err)
			}
		})
	}
}

func TestKeygenRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, args := range [][]string{{"keygen", "--id=k"}, {"keygen", "--id=k", "--secret"}} {
		must(t, env{}.run(t, append(args, "--dir", dir)...))
		if o := (env{}).run(t, append(args, "--dir", dir)...); o.err == nil || !strings.Contains(o.err.Error(), "exists") {
			t.Errorf("%v: %v", args, o.err)
		}
	}
	if o := (env{}).run(t, "keygen", "--dir", filepath.Join(dir, "none")); o.err == nil {
		t.Error("there is no such directory")
	}
}

func TestMintRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	must(t, env{}.run(t, "keygen", "--id=k", "--dir", dir))
	private, public := "--key="+filepath.Join(dir, "k.key"), "--key="+filepath.Join(dir, "k.pem")
	for want, args := range map[string][]string{
		"missing flags: --links=GRANT,..., --sub=NAME": {private},
		"signs nothing":   {public, "--sub=a", "--links=*"},
		"no such file":    {private + "x", "--sub=a", "--links=*"},
		"links: grant 1":  {private, "--sub=a", "--links=a,b*c"},
		"lifetime: must":  {private, "--sub=a", "--links=*", "--ttl=1000h"},
		"subject: it has": {private, "--sub=" + strings.Repeat("a", 256), "--links=*"},
	} {
		if o := (env{}).run(t, append([]string{"mint"}, args...)...); o.err == nil || !strings.Contains(o.err.Error(), want) || o.stdout != "" {
			t.Errorf("%v: %v, want %q", args, o.err, want)
		}
	}
}

func TestCheckRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	must(t, env{}.run(t, "keygen", "--id=k", "--dir", dir))
	must(t, env{}.run(t, "keygen", "--id=other", "--dir", dir))
	private, setting := "--key="+filepath.Join(dir, "k.key"), "--auth-key-files="+filepath.Join(dir, "k.pem")
	token := func(args ...string) string {
		args = append([]string{"mint", private, "--sub=ada", "--links=*"}, args...)
		return strings.TrimSpace(must(t, env{}.run(t, args...)).stdout)
	}
	good := token()
	for name, tc := range map[string]struct {
		args []string
		code int
		want string
	}{
		"every link":       {[]string{setting, good}, 0, "every link\n"},
		"no token":         {[]string{setting}, 1, "refused (missing): there is no token"},
		"no token at all":  {[]string{setting, "hello"}, 1, "refused (malformed): "},
		"another audience": {[]string{setting, "--auth-audience=x", good}, 1, "refused (audience): "},
		"another issuer":   {[]string{setting, "--auth-issuer=x", good}, 1, "refused (issuer): "},
		"too long":         {[]string{setting, token("--ttl=48h")}, 1, "refused (lifetime): the token is good for longer than 24h0m0s"},
		"long, allowed":    {[]string{setting, "--auth-max-lifetime=72h", token("--ttl=48h")}, 0, "in 47h"},
		"another key":      {[]string{setting, token("--key=" + filepath.Join(dir, "other.key"))}, 1, "refused (key): "},
		"no keys":          {[]string{good}, 1, "no keys that tokens are signed with"},
		"no such file":     {[]string{setting + "x", good}, 2, "no such file"},
	} {
		o := env{}.run(t, append([]string{"check"}, tc.args...)...)
		said := o.stdout
		if o.err != nil {
			said += o.err.Error()
		}
		if o.code() != tc.code || !strings.Contains(said, tc.want) || strings.Contains(said, good) {
			t.Errorf("%s: %d, %s; want %d, %q", name, o.code(), said, tc.code, tc.want)
		}
	}
	o := env{}.run(t, "check", setting, "--json", "hello")
	if o.stdout != `{"accepted":false,"reason":"malformed","detail":"a token has three parts with dots between them"}`+"\n" || o.code() != 1 {
		t.Errorf("%s, %d", o.stdout, o.code())
	}
}

// served is a JWKS in memory.
type served struct {
	doc  string
	away bool
}

func (s served) RoundTrip(req *http.Request) (*http.Response, error) {
	if s.away {
		return nil, errors.New("no route to host")
	}
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(s.doc)), Request: req}, nil
}

func TestCheckWithAJWKS(t *testing.T) {
	t.Parallel()
	const doc = `{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"k","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`
	signer, err := mint.NewSecretSigner("nobody", []byte(strings.Repeat("s", 32)))
	if err != nil {
		t.Fatal(err)
	}
	token, _, err := signer.Sign(mint.Claims{Subject: "a", Links: []string{"*"}, Lifetime: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		served served
		code   int
		want   string
	}{
		"there is no such key": {served{doc: doc}, 1, "refused (key): "},
		"it is away":           {served{away: true}, 2, "no route to host"},
		"it is empty":          {served{doc: `{"keys":[]}`}, 2, "no key in it"},
	} {
		o := env{transport: tc.served}.run(t, "check", "--auth-jwks-url=https://id.example/", "--auth-issuer=x", token)
		if o.code() != tc.code || !strings.Contains(o.stdout+o.err.Error(), tc.want) {
			t.Errorf("%s: %+v", name, o)
		}
	}
}

// The words for what a table of cases would not show: no id, and a clock that is ahead.
func TestWords(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		grants, err := auth.ParseGrants([]string{"a"})
		if err != nil {
			t.Fatal(err)
		}
		now := time.Now()
		got := words(&auth.Identity{Subject: "eve", IssuedAt: now.Add(-time.Hour), ExpiresAt: now.Add(-10 * time.Second), Grants: grants}, now)
		const want = `accepted: a token of eve
  its id       none: it cannot be revoked by itself, only with its subject
  issued       1999-12-31T23:00:00Z, 1h0m0s ago
  expired      1999-12-31T23:59:50Z, 10s ago: clocks may differ by 30s
  may see      a
`
		if got != want {
			t.Errorf("%s", got)
		}
	})
}

func TestCheckReadsNoMoreThanATokenHas(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	secret := filepath.Join(dir, "s")
	if err := os.WriteFile(secret, []byte(strings.Repeat("s", 32)), 0o600); err != nil {
		t.Fatal(err)
	}
	endless := &counted{}
	c := Check{Auth: auth.Config{SecretFile: secret, Audience: "linkpulse", MaxLifetime: time.Hour}, Timeout: time.Second}
	err := c.Run(context.WithoutCancel(t.Context()), Env{Stdin: endless, Stdout: io.Discard, Log: zap.NewNop()})
	if err == nil || endless.bytes > maxInput {
		t.Errorf("%v after %d bytes", err, endless.bytes)
	}
}

// counted is an input that never ends.
type counted struct{ bytes int }

func (c *counted) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	c.bytes += len(p)
	return len(p), nil
}
