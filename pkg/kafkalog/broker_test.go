package kafkalog

import (
	"fmt"
	"io"
	"os"

	"github.com/twmb/franz-go/pkg/kfake"
)

// brokerEnv makes the test binary a broker for benchmarks.
const brokerEnv = "KAFKALOG_TEST_BROKER"

// serve is a broker on loopback that tells its address on standard output and ends with standard input.
func serve() error {
	broker, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(12, topic))
	if err != nil {
		return err
	}
	defer broker.Close()
	if _, err := fmt.Fprintln(os.Stdout, broker.ListenAddrs()[0]); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}
