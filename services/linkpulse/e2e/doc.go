// Package e2e tests the whole system from end to end. It has only tests.
//
// TestSimulation runs everything in virtual time on a network in memory, with faults drawn from a seed: hundreds of
// lives of the system in a minute. A seed that fails prints the command that repeats it.
// The seed fixes what goes wrong, when, and for how long; which of several goroutines that can run at one instant goes
// first is the scheduler's choice, so a rare failure may take a few repetitions (-count).
//
//	go test ./e2e -run TestSimulation -seeds 5000
//	go test ./e2e -run TestSimulation -seed 4711 -v
//
// TestEmbedded and TestKafka run one suite of cases over real sockets, on the embedded broker and on Apache Kafka in
// containers.
//
// One checker judges them all: package history.
package e2e
