// Command linkpulse is the operator's program: it runs the whole system on one machine, creates a deployment, sends and
// watches clicks, and measures.
//
//	linkpulse dev      the whole system in one process, on embedded parts
//	linkpulse --help   everything else
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"
	"go.uber.org/zap"
	"golang.org/x/term"

	"github.com/linkpulse/linkpulse/pkg/telemetry"
	"github.com/linkpulse/linkpulse/services/linkpulse/internal/bench"
	"github.com/linkpulse/linkpulse/services/linkpulse/internal/devcmd"
	"github.com/linkpulse/linkpulse/services/linkpulse/internal/initcmd"
	"github.com/linkpulse/linkpulse/services/linkpulse/internal/keycmd"
	"github.com/linkpulse/linkpulse/services/linkpulse/internal/revokecmd"
	"github.com/linkpulse/linkpulse/services/linkpulse/internal/sendcmd"
	"github.com/linkpulse/linkpulse/services/linkpulse/internal/tail"
	"github.com/linkpulse/linkpulse/services/linkpulse/internal/tokencmd"
	"github.com/linkpulse/linkpulse/services/linkpulse/internal/totalscmd"
	"github.com/linkpulse/linkpulse/services/linkpulse/internal/watchcmd"
)

// commands are the program's commands.
type commands struct {
	LogLevel string `help:"Least level of the log on standard error." default:"warn" enum:"debug,info,warn,error" env:"LINKPULSE_LOG_LEVEL"`
	Config   string `help:"JSON file with settings of init, totals, token check and revoke, keys spelt like their flags." placeholder:"FILE"`

	Dev     devcmd.Cmd    `cmd:"" help:"Run the whole system in one process on embedded parts."`
	Init    initcmd.Cmd   `cmd:"" help:"Create the topics and the deployment record that the services wait for. Its flags may stand in the environment, --kafka-brokers as LINKPULSE_KAFKA_BROKERS; LINKPULSE_…_FILE names a file with the value."`
	Totals  totalscmd.Cmd `cmd:"" help:"Look at the totals in Redis, compare them with the log, keep, restore and rebuild them. Flags may stand in the environment as those of init."`
	Token   tokencmd.Cmd  `cmd:"" help:"Make keys and tokens, and say what a token is worth to a gateway."`
	Revoke  revokecmd.Cmd `cmd:"" help:"Say of tokens that they are good no more: every gateway refuses them within a second and closes their connections. Flags may stand in the environment as those of init."`
	Send    sendcmd.Cmd   `cmd:"" help:"Send clicks and say what became of each."`
	Watch   watchcmd.Cmd  `cmd:"" help:"Watch live counts."`
	Tail    tail.Cmd      `cmd:"" help:"Turn a web server's access log into clicks."`
	Key     keycmd.Cmd    `cmd:"" help:"Make and check the API keys of those who send clicks."`
	Bench   bench.Cmd     `cmd:"" help:"Measure delivery under load."`
	Version versionCmd    `cmd:"" help:"Say what was built."`
}

type versionCmd struct{}

// exitCoder is an error that says what the process should end with.
type exitCoder interface {
	error
	ExitCode() int
}

func main() { os.Exit(run()) }

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	var cmds commands
	parser, err := kong.New(&cmds, kong.Name("linkpulse"), kong.UsageOnError(), kong.ValueFormatter(helpOf),
		kong.Description("Live click counts for URL shorteners."))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	parsed, err := parser.Parse(os.Args[1:])
	if err != nil {
		fmt.Fprintf(os.Stderr, "linkpulse: %v\n", err)
		return 2
	}
	log, err := telemetry.NewLogger(telemetry.LogConfig{Level: cmds.LogLevel}, os.Stderr)
	if err != nil {
		fmt.Fprintf(os.Stderr, "linkpulse: %v\n", err)
		return 2
	}
	defer func() { _ = log.Sync() }() // a terminal cannot be synced, and there is nobody left to tell
	err = cmds.settle(parsed.Command(), os.Args[1:], os.Environ())
	if err != nil {
		fmt.Fprintf(os.Stderr, "linkpulse: %v\n", err)
		return 2
	}
	err = cmds.dispatch(ctx, parsed.Command(), log)
	if coded, ok := errors.AsType[exitCoder](err); ok {
		fmt.Fprintf(os.Stderr, "linkpulse: %v\n", err)
		return coded.ExitCode()
	}
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		return 0 // it was asked to end
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "linkpulse: %v\n", err)
		return 1
	}
	return 0
}

// helpOf is what --help says of a flag or an argument. kong shows either the placeholder of a value or its default.
func helpOf(v *kong.Value) string {
	help := kong.DefaultHelpValueFormatter(v)
	if v.Tag.PlaceHolder == "" || v.Default == "" || strings.Contains(help, v.Default) || strings.Contains(v.Tag.PlaceHolder, v.Default) {
		return help
	}
	return help + " Default: " + v.Default + "."
}

// dispatch runs a command, as kong names it: its name, and its arguments in angle brackets.
func (c *commands) dispatch(ctx context.Context, command string, log *zap.Logger) error {
	terminal := isTerminal(os.Stderr)
	switch name, _, _ := strings.Cut(command, " "); name {
	case "dev":
		return c.Dev.Run(ctx, devcmd.Env{Stdout: os.Stdout, Stderr: os.Stderr, Environ: os.Environ(), Terminal: terminal, Log: log})
	case "init":
		return c.Init.Run(ctx, os.Stdout, log)
	case "key":
		cmd, err := c.Key.Find(subcommand(command))
		if err != nil {
			return err
		}
		return cmd.Run(ctx, keycmd.Env{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Interactive: isTerminal(os.Stdin)})
	case "totals":
		cmd, err := c.Totals.Find(subcommand(command))
		if err != nil {
			return err
		}
		return cmd.Run(ctx, totalscmd.Env{
			Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Log: log,
			Terminal: terminal, Interactive: isTerminal(os.Stdin), Owner: owner(),
		})
	case "token":
		cmd, err := c.Token.Find(subcommand(command))
		if err != nil {
			return err
		}
		return cmd.Run(ctx, tokencmd.Env{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Terminal: terminal, Log: log})
	case "revoke":
		cmd, err := c.Revoke.Find(subcommand(command))
		if err != nil {
			return err
		}
		return cmd.Run(ctx, revokecmd.Env{Stdout: os.Stdout, Log: log})
	case "send":
		return c.Send.Run(ctx, sendcmd.Env{Stdout: os.Stdout, Stderr: os.Stderr, Environ: os.Environ(), Terminal: terminal})
	case "watch":
		return c.Watch.Run(ctx, watchcmd.Env{
			Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Environ: os.Environ(),
			Terminal: isTerminal(os.Stdin) && isTerminal(os.Stdout),
		})
	case "tail":
		return c.Tail.Run(ctx, tail.Env{Stdout: os.Stdout, Stderr: os.Stderr, Environ: os.Environ(), Terminal: terminal})
	case "bench":
		return c.Bench.Run(ctx, bench.Env{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Terminal: terminal})
	case "version":
		version, revision := telemetry.Build()
		_, err := fmt.Printf("linkpulse %s (%s)\n", version, revision)
		return err
	default:
		return fmt.Errorf("no such command: %s", name)
	}
}

// subcommand returns the second word of a command.
func subcommand(command string) string {
	_, rest, _ := strings.Cut(command, " ")
	word, _, _ := strings.Cut(rest, " ")
	return word
}

func isTerminal(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }
