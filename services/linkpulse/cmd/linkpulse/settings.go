package main

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/linkpulse/linkpulse/pkg/config"
)

// settle reads the settings of the commands that run unattended: from a file and from the environment too, so that no
// password has to stand among the arguments, where every process sees it.
func (c *commands) settle(command string, args, environ []string) error {
	var cfg any
	words := strings.Fields(command)
	switch words[0] {
	case "init":
		cfg, words = &c.Init, words[:1]
	case "totals":
		found, err := c.Totals.Find(words[1])
		if err != nil {
			return err
		}
		cfg, words = found, words[:2]
	case "token":
		if words[1] != "check" { // the others are for people
			return nil
		}
		cfg, words = &c.Token.Check, words[:2]
	case "revoke":
		found, err := c.Revoke.Find(words[1])
		if err != nil {
			return err
		}
		cfg, words = found, typed(args, words[:2])
	default:
		return nil
	}
	var senders struct{ Key string } // LINKPULSE_KEY and LINKPULSE_KEY_FILE are of those who send clicks
	t, r := &c.Totals, &c.Revoke
	return config.Load(cfg, config.Source{
		Name: "linkpulse " + strings.Join(words, " "), Prefix: "LINKPULSE", Args: without(args, words), Environ: ours(environ),
		Others: []any{&c.Init, &t.Status, &t.Verify, &t.Rebuild, &t.Export, &t.Import, &c.Token.Check, &r.Add, &r.List, &r.Lift, &senders},
	})
}

// typed returns the words of a command without the second one where that is the one that is meant without being named.
func typed(args, words []string) []string {
	if i := slices.Index(args, words[0]); words[1] == "add" && (i+1 >= len(args) || args[i+1] != words[1]) {
		return words[:1]
	}
	return words
}

// logLevel is the flag of all commands, which is read before.
const logLevel = "--log-level"

// without returns the arguments of a command: all but its name and the flags of all commands.
func without(args, words []string) (rest []string) {
	for i := 0; i < len(args); i++ {
		switch {
		case len(words) > 0 && args[i] == words[0]:
			words = words[1:]
		case args[i] == logLevel:
			i++ // its value
		case !strings.HasPrefix(args[i], logLevel+"="):
			rest = append(rest, args[i])
		}
	}
	return rest
}

// ours leaves the variable of the flag of all commands out.
func ours(environ []string) (rest []string) {
	for _, kv := range environ {
		if !strings.HasPrefix(kv, "LINKPULSE_LOG_LEVEL=") {
			rest = append(rest, kv)
		}
	}
	return rest
}

// owner names this process to others.
func owner() string {
	host, err := os.Hostname()
	if err != nil {
		host = "an unknown host"
	}
	return fmt.Sprintf("process %d on %s", os.Getpid(), host)
}
