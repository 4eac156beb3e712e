// Package revokecmd is `linkpulse revoke`: it says of tokens that they are good no more, which every gateway knows within a
// second, lists of which that was said, and takes it back.
package revokecmd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"text/tabwriter"
	"time"

	"go.uber.org/zap"

	"github.com/linkpulse/linkpulse/pkg/kafkalog"
	"github.com/linkpulse/linkpulse/pkg/revocation"
)

// Cmd are the commands.
type Cmd struct {
	Add  Add  `cmd:"" default:"withargs" help:"Revoke a token, those of a subject, or everybody's that were issued before a time. It is what revoke does without a command."`
	List List `cmd:"" help:"List what is revoked."`
	Lift Lift `cmd:"" help:"Take a revocation back: tokens that have not expired are good again. Ends with 1 where none stands."`
}

// Env is what the commands take from their process.
type Env struct {
	Stdout io.Writer
	Log    *zap.Logger
	// Dial makes connections; nil is the network.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Command is one of the commands.
type Command interface {
	// Check returns everything that is wrong with its arguments.
	Check() error
	// Run does it.
	Run(ctx context.Context, env Env) error
}

// Find returns the command of a name.
func (c *Cmd) Find(name string) (Command, error) {
	switch name {
	case "add":
		return &c.Add, nil
	case "list":
		return &c.List, nil
	case "lift":
		return &c.Lift, nil
	default:
		return nil, fmt.Errorf("no such command: revoke %s", name)
	}
}

// Connection is how Kafka is reached, and for how long that is tried.
type Connection struct {
	Kafka   kafkalog.Config `embed:"" prefix:"kafka-"`
	Timeout time.Duration   `help:"How long to try." default:"30s"`
}

func (c *Connection) check() error {
	if c.Timeout <= 0 {
		return errors.Join(c.Kafka.Check(), errors.New("--timeout: more than 0"))
	}
	return c.Kafka.Check()
}

// pause is the rest between two attempts where the cluster cannot be asked.
const pause = 200 * time.Millisecond

// patiently does something with the cluster until that works or says what trying again cannot mend.
func (c *Connection) patiently(ctx context.Context, env Env, do func(ctx context.Context, cluster *kafkalog.Cluster) error) error {
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	opts := []kafkalog.Option{kafkalog.WithLogger(env.Log)}
	if env.Dial != nil {
		opts = append(opts, kafkalog.WithDialer(env.Dial))
	}
	cluster, err := kafkalog.Open(c.Kafka, opts...)
	if err != nil {
		return err
	}
	defer cluster.Close()
	for last := error(nil); ; {
		err := do(ctx, cluster)
		if err == nil || final(err) {
			return err
		}
		if ctx.Err() != nil && last != nil {
			return last // which says more than that the time is over
		}
		last = err
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return err
		}
	}
}

// final tells errors that trying again does not mend.
func final(err error) bool {
	for _, target := range []error{revocation.ErrInvalid, revocation.ErrNotRevoked, kafkalog.ErrNoTopic, kafkalog.ErrUnknownOutcome} {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}

// moment is a time among the arguments.
type moment struct{ time.Time }

// UnmarshalText implements encoding.TextUnmarshaler.
func (m *moment) UnmarshalText(text []byte) (err error) {
	if string(text) == "now" {
		m.Time = time.Now()
		return nil
	}
	if m.Time, err = time.Parse(time.RFC3339, string(text)); err != nil {
		return fmt.Errorf("%q is no time: write it like 2026-11-28T05:00:00Z, or now", text)
	}
	return nil
}

// checkNames refuses an empty name: a script whose variable is empty must not mean everybody.
func checkNames(token, subject *string) error {
	var errs []error
	for flag, value := range map[string]*string{"--token": token, "--subject": subject} {
		if value != nil && *value == "" {
			errs = append(errs, fmt.Errorf("%s: it is empty", flag))
		}
	}
	if token != nil && subject != nil {
		errs = append(errs, errors.New("--token and --subject: one of them at a time"))
	}
	return errors.Join(errs...)
}

func named(token, subject *string) (r revocation.Revocation) {
	if token != nil {
		r.TokenID = *token
	}
	if subject != nil {
		r.Subject = *subject
	}
	return r
}

// Add are the flags of `linkpulse revoke`.
type Add struct {
	Connection   `embed:""`
	Token        *string `help:"Revoke the token of this id (its jti)." placeholder:"ID"`
	Subject      *string `help:"Revoke the tokens of this subject (their sub) that were issued before a time, until now by default." placeholder:"NAME"`
	IssuedBefore *moment `help:"Revoke tokens that were issued before (by their iat), in RFC 3339, or now: of the subject, or of everybody." placeholder:"TIME"`
	Until        *moment `help:"When the last of these tokens has expired, in RFC 3339: nobody needs to know of it any more then. In 30 days by default, which is the longest that a token can live." placeholder:"TIME"`
}

// Check returns everything that is wrong with the arguments.
func (c *Add) Check() error {
	errs := []error{c.check(), checkNames(c.Token, c.Subject)}
	if c.Token == nil && c.Subject == nil && c.IssuedBefore == nil {
		errs = append(errs, errors.New("whose tokens: --token, --subject, or --issued-before alone for everybody's"))
	}
	return errors.Join(errs...)
}

// Run writes the revocation and says what stands.
func (c *Add) Run(ctx context.Context, env Env) error {
	want := named(c.Token, c.Subject)
	if c.IssuedBefore != nil {
		want.IssuedBefore = c.IssuedBefore.Time
	}
	if c.Until != nil {
		want.Until = c.Until.Time
	}
	return c.patiently(ctx, env, func(ctx context.Context, cluster *kafkalog.Cluster) error {
		stands, err := revocation.Revoke(ctx, cluster, want)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(env.Stdout, "revoked: %s. Gateways know it within a second, and until %s\n",
			stands, stands.Until.UTC().Format(time.RFC3339))
		return err
	})
}

// List are the flags of `linkpulse revoke list`.
type List struct {
	Connection `embed:""`
	JSON       bool `help:"Print one line of JSON each."`
}

// Check returns everything that is wrong with the arguments.
func (c *List) Check() error { return c.check() }

// listLine is what it prints of one with --json.
type listLine struct {
	TokenID      string     `json:"token_id,omitempty"`
	Subject      string     `json:"subject,omitempty"`
	IssuedBefore *time.Time `json:"issued_before,omitempty"`
	Until        time.Time  `json:"until"`
	CreatedAt    time.Time  `json:"created_at"`
}

// Run prints what stands.
func (c *List) Run(ctx context.Context, env Env) error {
	var all []revocation.Revocation
	err := c.patiently(ctx, env, func(ctx context.Context, cluster *kafkalog.Cluster) (err error) {
		all, err = revocation.Standing(ctx, cluster)
		return err
	})
	if err != nil {
		return err
	}
	if c.JSON {
		out := json.NewEncoder(env.Stdout)
		for _, r := range all {
			line := listLine{TokenID: r.TokenID, Subject: r.Subject, Until: r.Until.UTC(), CreatedAt: r.CreatedAt.UTC()}
			if !r.IssuedBefore.IsZero() {
				line.IssuedBefore = new(r.IssuedBefore.UTC())
			}
			if err := out.Encode(line); err != nil {
				return err
			}
		}
		return nil
	}
	if len(all) == 0 {
		_, err = fmt.Fprintln(env.Stdout, "nothing is revoked")
		return err
	}
	table := tabwriter.NewWriter(env.Stdout, 0, 0, 2, ' ', 0)
	_, err = fmt.Fprintln(table, "revoked\tsince\tuntil")
	for _, r := range all {
		if err == nil {
			_, err = fmt.Fprintf(table, "%s\t%s\t%s\n", r, r.CreatedAt.UTC().Format(time.RFC3339), r.Until.UTC().Format(time.RFC3339))
		}
	}
	return errors.Join(err, table.Flush())
}

// Lift are the flags of `linkpulse revoke lift`.
type Lift struct {
	Connection `embed:""`
	Token      *string `help:"Take back the revocation of the token of this id." placeholder:"ID"`
	Subject    *string `help:"Take back that of the tokens of this subject." placeholder:"NAME"`
	All        bool    `help:"Take back that of everybody's."`
}

// Check returns everything that is wrong with the arguments.
func (c *Lift) Check() error {
	errs := []error{c.check(), checkNames(c.Token, c.Subject)}
	if c.All == (c.Token != nil || c.Subject != nil) {
		errs = append(errs, errors.New("which revocation: --token, --subject, or --all alone for that of everybody's tokens"))
	}
	return errors.Join(errs...)
}

// Run lifts it.
func (c *Lift) Run(ctx context.Context, env Env) error {
	return c.patiently(ctx, env, func(ctx context.Context, cluster *kafkalog.Cluster) error {
		if err := revocation.Lift(ctx, cluster, named(c.Token, c.Subject)); err != nil {
			return err
		}
		_, err := fmt.Fprintln(env.Stdout, "lifted: what has not expired is good again, within a second. "+
			"Other revocations that concern it still do: linkpulse revoke list")
		return err
	})
}
