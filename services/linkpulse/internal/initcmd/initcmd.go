// Package initcmd is `linkpulse init`: it creates the topics and the deployment record that the services wait for. It may
// be run before every deploy: what stands is checked, and nothing is ever changed.
package initcmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"go.uber.org/zap"

	"github.com/linkpulse/linkpulse/pkg/deployment"
	"github.com/linkpulse/linkpulse/pkg/fold"
	"github.com/linkpulse/linkpulse/pkg/kafkalog"
)

// Cmd are the flags of `linkpulse init`.
type Cmd struct {
	Kafka      kafkalog.Config `embed:"" prefix:"kafka-"`
	Topic      string          `help:"Topic of the clicks." default:"clicks"`
	Partitions int             `help:"Partitions of it: fixed for ever, since links are hashed over them." default:"12"`
	Window     int64           `help:"How many records back a duplicate is looked for, per partition: at least its peak rate times a minute." default:"50000"`
	Within     time.Duration   `help:"How far apart in time duplicates are at most." default:"1h"`
	Replicas   int             `help:"Brokers that hold each partition." default:"3"`
	MinInsync  int             `help:"Brokers that must have a click before it is acknowledged." default:"2"`
	Retention  time.Duration   `help:"How long clicks are kept." default:"168h"`
	Timeout    time.Duration   `help:"How long to try." default:"60s"`
}

// record is what is asked for.
func (c *Cmd) record() deployment.Record {
	return deployment.Record{
		Topic: c.Topic, Partitions: c.Partitions, Window: c.Window, Within: c.Within, FoldVersion: fold.Version, Epoch: 1,
	}
}

func (c *Cmd) topics() deployment.Topics {
	return deployment.Topics{Replicas: c.Replicas, MinInsync: c.MinInsync, Retention: c.Retention}
}

// Check returns everything that is wrong with the arguments.
func (c *Cmd) Check() error {
	errs := []error{c.Kafka.Check(), c.record().Check(), c.topics().Check(c.record())}
	if c.Timeout <= 0 {
		errs = append(errs, errors.New("--timeout: more than 0"))
	}
	return errors.Join(errs...)
}

// Run creates what is not there and prints what stands.
func (c *Cmd) Run(ctx context.Context, out io.Writer, log *zap.Logger) error {
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	cluster, err := kafkalog.Open(c.Kafka, kafkalog.WithLogger(log))
	if err != nil {
		return err
	}
	defer cluster.Close()
	r, err := deployment.Init(ctx, cluster, c.record(), c.topics())
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "deployment: topic %s, %d partitions, duplicates within %d records and %v, epoch %d, since %s\n",
		r.Topic, r.Partitions, r.Window, r.Within, r.Epoch, r.CreatedAt.UTC().Format(time.RFC3339))
	return err
}
