package revokecmd

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alecthomas/kong"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/linkpulse/linkpulse/pkg/deployment"
	"github.com/linkpulse/linkpulse/pkg/kafkalog"
	"github.com/linkpulse/linkpulse/pkg/revocation"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a broker in memory, in the synctest bubble of its test.
type world struct {
	t       *testing.T
	network *kfake.VirtualNetwork
	fake    *kfake.Cluster
}

func inWorld(t *testing.T, test func(w *world)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, network: &kfake.VirtualNetwork{}}
		var err error
		if w.fake, err = kfake.NewCluster(kfake.NumBrokers(1), kfake.Ports(9092), kfake.ListenFn(w.network.Listen)); err != nil {
			t.Fatal(err)
		}
		defer w.fake.Close()
		test(w)
	})
}

func (w *world) init() {
	w.t.Helper()
	cluster, err := kafkalog.Open(kafkalog.Config{Brokers: w.fake.ListenAddrs()}, kafkalog.WithDialer(w.network.DialContext))
	if err != nil {
		w.t.Fatal(err)
	}
	defer cluster.Close()
	topics := deployment.Topics{Replicas: 1, MinInsync: 1, Retention: deployment.DefaultRetention}
	if _, err := deployment.Init(w.t.Context(), cluster, deployment.Default(), topics); err != nil {
		w.t.Fatal(err)
	}
}

// run runs a command as the program does, by its arguments.
func (w *world) run(args ...string) (stdout string, err error) {
	w.t.Helper()
	var cmds struct {
		Revoke Cmd `cmd:""`
	}
	parser, err := kong.New(&cmds)
	if err != nil {
		w.t.Fatal(err)
	}
	parsed, err := parser.Parse(append([]string{"revoke"}, append(args, "--kafka-brokers="+w.fake.ListenAddrs()[0])...))
	if err != nil {
		return "", err
	}
	cmd, err := cmds.Revoke.Find(strings.Fields(parsed.Command())[1])
	if err != nil {
		w.t.Fatal(err)
	}
	if err := cmd.Check(); err != nil {
		return "", err
	}
	var out strings.Builder
	err = cmd.Run(w.t.Context(), Env{Stdout: &out, Log: zap.NewNop(), Dial: w.network.DialContext})
	return out.String(), err
}

func (w *world) must(args ...string) string {
	w.t.Helper()
	out, err := w.run(args...)
	if err != nil {
		w.t.Fatalf("%v: %v", args, err)
	}
	return out
}

func TestRevokeListLift(t *testing.T) {
	inWorld(t, func(w *world) {
		w.init()
		if out := w.must("list"); out != "nothing is revoked\n" {
			w.t.Error(out)
		}
		for args, want := range map[string]string{
			"--token=t1": `revoked: the token "t1". Gateways know it within a second, and until 2000-01-31T`,
			"add --token t2 --until 2000-01-01T01:00:00Z": `revoked: the token "t2". Gateways know it within a second, and until 2000-01-01T01:00:00Z`,
			"--subject=ada": `revoked: tokens of "ada" issued before 2000-01-01T00:00:0`,
			"--subject=eve --issued-before=1999-12-31T00:00:00+01:00": `revoked: tokens of "eve" issued before 1999-12-30T23:00:00Z`,
			"--issued-before=1999-12-31T00:00:00Z":                    "revoked: all tokens issued before 1999-12-31T00:00:00Z",
		} {
			if out := w.must(strings.Fields(args)...); !strings.HasPrefix(out, want) {
				w.t.Errorf("%s: %s, want %s", args, out, want)
			}
		}
		lines := strings.Split(strings.TrimSpace(w.must("list")), "\n")
		if len(lines) != 6 || !strings.HasPrefix(lines[0], "revoked  ") || strings.Fields(lines[1])[4] != "1999-12-31T00:00:00Z" || !strings.HasSuffix(lines[5], "  2000-01-01T01:00:00Z") {
			w.t.Errorf("%q", lines)
		}
		var jsonLines []listLine
		dec := json.NewDecoder(strings.NewReader(w.must("list", "--json")))
		for dec.More() {
			var l listLine
			if err := dec.Decode(&l); err != nil {
				w.t.Fatal(err)
			}
			jsonLines = append(jsonLines, l)
		}
		if len(jsonLines) != 5 || jsonLines[1].Subject != "ada" || jsonLines[1].IssuedBefore == nil || jsonLines[3].TokenID != "t1" || jsonLines[3].IssuedBefore != nil {
			w.t.Errorf("%+v", jsonLines)
		}
		for _, args := range []string{"lift --token=t1", "lift --token=t2", "lift --subject=ada", "lift --subject=eve", "lift --all"} {
			if out := w.must(strings.Fields(args)...); !strings.HasPrefix(out, "lifted: ") {
				w.t.Errorf("%s: %s", args, out)
			}
			if _, err := w.run(strings.Fields(args)...); !errors.Is(err, revocation.ErrNotRevoked) {
				w.t.Errorf("%s again: %v", args, err)
			}
		}
		if out := w.must("list"); out != "nothing is revoked\n" {
			w.t.Error(out)
		}
	})
}

// Nothing that is asked for by mistake is done, above all not to everybody.
func TestRevokeRefuses(t *testing.T) {
	inWorld(t, func(w *world) {
		w.init()
		for args, want := range map[string]string{
			"":                                       "whose tokens",
			"--until=now":                            "whose tokens",
			"--token=":                               "--token: it is empty",
			"--subject= --issued-before=now":         "--subject: it is empty",
			"--token=a --subject=b":                  "one of them at a time",
			"--token=a --issued-before=now":          "whenever it was issued",
			"--subject=a --issued-before=yesterday":  "write it like",
			"--subject=a --issued-before=2026-11-28": "write it like",
			"--issued-before=2999-01-01T00:00:00Z":   "in the future",
			"--token=a --until=1999-01-01T00:00:00Z": "it is over already",
			"--token=a --timeout=0s":                 "--timeout",
			"lift":                                   "which revocation",
			"lift --all --token=a":                   "which revocation",
			"lift --token=":                          "--token: it is empty",
			"list --timeout=-1s":                     "--timeout",
			"--kafka-sasl-mechanism=plain --token=a": "needs a user name",
		} {
			if out, err := w.run(strings.Fields(args)...); err == nil || !strings.Contains(err.Error(), want) || out != "" {
				w.t.Errorf("%s: %q, %v, want %q", args, out, err, want)
			}
		}
		if out := w.must("list"); out != "nothing is revoked\n" {
			w.t.Error(out)
		}
	})
}

func TestRevokeWithoutATopic(t *testing.T) {
	inWorld(t, func(w *world) {
		for _, args := range [][]string{{"--token=a"}, {"list"}, {"lift", "--all"}} {
			if _, err := w.run(args...); err == nil || !strings.Contains(err.Error(), "linkpulse init") {
				w.t.Errorf("%v: %v", args, err)
			}
		}
	})
}

// A broker that is being elected is waited for, one that stays away is told of.
func TestRevokeWaitsForTheBroker(t *testing.T) {
	inWorld(t, func(w *world) {
		w.init()
		fault := kfake.Fault{Keys: []kmsg.Key{kmsg.ListOffsets}, Topic: deployment.ControlTopic, Err: kerr.NotLeaderForPartition, Count: -1}
		down := w.fake.Fault(fault)
		time.AfterFunc(10*time.Second, down.Remove)
		w.must("--token=a")
		w.fake.Fault(fault)
		began := time.Now()
		_, err := w.run("--token=b", "--timeout=20s")
		if err == nil || !strings.Contains(err.Error(), "Not Leader") || time.Since(began) > 25*time.Second {
			w.t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}
