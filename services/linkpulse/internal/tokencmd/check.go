package tokencmd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/linkpulse/linkpulse/pkg/auth"
	"github.com/linkpulse/linkpulse/services/linkpulse/internal/exitcode"
)

// Check are the flags of `linkpulse token check`.
type Check struct {
	Auth    auth.Config   `embed:"" prefix:"auth-"`
	Token   string        `arg:"" optional:"" help:"The token; from standard input without it, where no list of processes shows it."`
	Timeout time.Duration `help:"How long to try to read a JWKS." default:"10s"`
	JSON    bool          `help:"Print one JSON object."`
}

// Check returns everything that is wrong with the flags.
func (c *Check) Check() error {
	errs := []error{c.Auth.Check()}
	if c.Timeout <= 0 {
		errs = append(errs, errors.New("--timeout: more than 0"))
	}
	return errors.Join(errs...)
}

// checkReport is what it says.
type checkReport struct {
	Accepted  bool        `json:"accepted"`
	Reason    auth.Reason `json:"reason,omitempty"`
	Detail    string      `json:"detail,omitempty"`
	Subject   string      `json:"subject,omitempty"`
	TokenID   string      `json:"token_id,omitempty"`
	IssuedAt  *time.Time  `json:"issued_at,omitempty"`
	ExpiresAt *time.Time  `json:"expires_at,omitempty"`
	Links     []string    `json:"links,omitempty"`
}

// maxInput is more than a token may have, with room for blanks around it.
const maxInput = 2 * auth.MaxToken

// Run says what the token is worth.
func (c *Check) Run(ctx context.Context, env Env) error {
	token := c.Token
	if token == "" || token == "-" {
		input, err := io.ReadAll(io.LimitReader(env.Stdin, maxInput))
		if err != nil {
			return &exitcode.Error{Code: exitUnknown, Err: fmt.Errorf("reading the token: %w", err)}
		}
		token = string(input)
	}
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	id, err := c.verify(ctx, env, strings.TrimSpace(token))
	refused, isRefusal := errors.AsType[*auth.RefusedError](err)
	if err != nil && (!isRefusal || refused.Reason.IsTemporary()) {
		return &exitcode.Error{Code: exitUnknown, Err: err}
	}
	if err := c.print(env.Stdout, id, refused); err != nil {
		return &exitcode.Error{Code: exitUnknown, Err: err}
	}
	if refused != nil {
		return &exitcode.Error{Code: exitRefused, Err: errors.New("the token is refused")}
	}
	return nil
}

func (c *Check) verify(ctx context.Context, env Env, token string) (*auth.Identity, error) {
	opts := []auth.Option{auth.WithLogger(env.Log)}
	if env.Transport != nil {
		opts = append(opts, auth.WithClient(&http.Client{Transport: env.Transport}))
	}
	v, err := auth.New(c.Auth, opts...)
	if err != nil {
		return nil, err
	}
	for attempt := 1; ; attempt++ {
		if err := v.Load(ctx); err != nil {
			return nil, err
		}
		id, err := v.Verify(ctx, token)
		// A key that nobody had asked for when the set was read may be new: the second reading is certain.
		if refused, ok := errors.AsType[*auth.RefusedError](err); ok && refused.Reason == auth.ReasonKeysAway && attempt == 1 {
			continue
		}
		return id, err
	}
}

func (c *Check) print(out io.Writer, id *auth.Identity, refused *auth.RefusedError) error {
	if c.JSON {
		r := checkReport{Accepted: refused == nil}
		if refused != nil {
			r.Reason, r.Detail = refused.Reason, refused.Detail
		} else {
			r.Subject, r.TokenID, r.Links = id.Subject, id.TokenID, id.Grants.Patterns()
			r.IssuedAt, r.ExpiresAt = new(id.IssuedAt.UTC()), new(id.ExpiresAt.UTC())
		}
		return json.NewEncoder(out).Encode(r)
	}
	if refused != nil {
		_, err := fmt.Fprintf(out, "refused (%s): %s\n", refused.Reason, refused.Detail)
		return err
	}
	_, err := io.WriteString(out, words(id, time.Now()))
	return err
}

// words says what an identity is, for people.
func words(id *auth.Identity, now time.Time) string {
	var b strings.Builder
	fmt.Fprintf(&b, "accepted: a token of %s\n", id.Subject)
	if id.TokenID != "" {
		fmt.Fprintf(&b, "  its id       %s\n", id.TokenID)
	} else {
		b.WriteString("  its id       none: it cannot be revoked by itself, only with its subject\n")
	}
	stamp := func(t time.Time) string { return t.UTC().Format(time.RFC3339) }
	since, left := now.Sub(id.IssuedAt).Truncate(time.Second), id.ExpiresAt.Sub(now).Truncate(time.Second)
	fmt.Fprintf(&b, "  issued       %s, %v ago\n", stamp(id.IssuedAt), max(since, 0))
	if left >= 0 {
		fmt.Fprintf(&b, "  expires      %s, in %v\n", stamp(id.ExpiresAt), left)
	} else {
		fmt.Fprintf(&b, "  expired      %s, %v ago: clocks may differ by %v\n", stamp(id.ExpiresAt), -left, auth.Leeway)
	}
	label := "may see"
	if id.Grants.CoverAll() {
		fmt.Fprintf(&b, "  %-11s  every link\n", label)
		return b.String()
	}
	for _, p := range id.Grants.Patterns() {
		if prefix, ok := strings.CutSuffix(p, "*"); ok {
			fmt.Fprintf(&b, "  %-11s  every link that begins with %s\n", label, prefix)
		} else {
			fmt.Fprintf(&b, "  %-11s  %s\n", label, p)
		}
		label = ""
	}
	return b.String()
}
