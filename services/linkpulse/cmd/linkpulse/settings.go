package main

import (
	"fmt"
	"os"
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
	default:
		return nil
	}
	var senders struct{ Key string } // LINKPULSE_KEY and LINKPULSE_KEY_FILE are of those who send clicks
	t := &c.Totals
	return config.Load(cfg, config.Source{
		Name: "linkpulse " + strings.Join(words, " "), Prefix: "LINKPULSE", Args: without(args, words), Environ: ours(environ),
		Others: []any{&c.Init, &t.Status, &t.Verify, &t.Rebuild, &t.Export, &t.Import, &senders},
	})
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
