package devcmd

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// addresses is the line of --json: where everything is.
type addresses struct {
	Ingest    string   `json:"ingest"`
	Gateways  []string `json:"gateways"`
	Shortener string   `json:"shortener"`
	Admin     string   `json:"admin"`
	// Token lets in at every gateway; empty: none asks for one.
	Token string `json:"token"`
}

// announce says where everything is, for a program or for a person.
func (c *Cmd) announce(out io.Writer, at addresses, key *pass, brokers, redis []string) error {
	if c.JSON {
		return json.NewEncoder(out).Encode(at)
	}
	var b strings.Builder
	b.WriteString("\n  Linkpulse is ready.\n\n")
	for i, g := range at.Gateways {
		fmt.Fprintf(&b, "  dashboard %d   %s\n", i+1, key.link(g))
	}
	fmt.Fprintf(&b, "  shortener     %s   (follow a link there and watch the dashboards)\n", at.Shortener)
	fmt.Fprintf(&b, "  ingest        %s/v1/clicks\n", at.Ingest)
	fmt.Fprintf(&b, "  admin         %s/metrics\n", at.Admin)
	fmt.Fprintf(&b, "  kafka         %s%s\n", strings.Join(brokers, ","), c.whichKafka())
	fmt.Fprintf(&b, "  redis         %s%s\n", strings.Join(redis, ","), c.whichRedis())
	b.WriteString(c.aboutToken(at))
	fmt.Fprintf(&b, "\n  curl -d '{\"link\":\"x7Kp2\"}' -H 'Content-Type: application/json' %s/v1/clicks\n", at.Ingest)
	b.WriteString("\n  Ctrl-C stops everything.\n\n")
	_, err := io.WriteString(out, b.String())
	return err
}

// aboutToken says what else than the pages needs a token, and which.
func (c *Cmd) aboutToken(at addresses) string {
	if at.Token == "" {
		return "  token         none: with --auth off everybody who can connect sees every link\n"
	}
	text := "  token         " + at.Token + "\n"
	if c.TokenOut != "" {
		text += fmt.Sprintf("                also in %s: linkpulse watch --token-file %[1]s x7Kp2\n", c.TokenOut)
	}
	return text
}

func (c *Cmd) whichRedis() string {
	if c.RedisAddr != "" {
		return ""
	}
	return "   (embedded, in memory: totals are counted from the log at each start)"
}

func (c *Cmd) whichKafka() string {
	switch {
	case len(c.KafkaBrokers) > 0:
		return ""
	case c.DataDir != "":
		return "   (embedded, kept in " + c.DataDir + ")"
	default:
		return "   (embedded, in memory)"
	}
}
