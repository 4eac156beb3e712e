// Package e2e tests the whole system from end to end. It has only tests.
//
// TestSimulation runs everything in virtual time on a network in memory, with faults drawn from a seed: hundreds of
// lives of the system in a minute. A seed that fails prints the command that repeats it.
//
// The seed fixes what goes wrong, when, and for how long, who clicks and who watches. It does not fix everything: which of
// several goroutines that can run at one instant goes first is the scheduler's choice, and the product's own back-off,
// ids and choices between ready channels are as random as in production (one processor and no preemption do not change
// that: four runs of one seed had between 1,249 and 1,259 acknowledged clicks). A life of a seed is therefore nearly and
// not exactly the same one, and the command that repeats a failure runs the seed fifty times and stops at the first that
// fails.
//
//	go test ./e2e -run TestSimulation -seeds 5000
//	go test ./e2e -run TestSimulation -seed 4711 -count 50 -failfast -v
//
// Everybody in a simulation shows tokens, by keys that follow from the seed. Dashboards come in by each of the three ways, and
// refresh all the time where their tokens are good for seconds. Beside them are adversaries, who ask for the links of others,
// show what is forged, expired, revoked, used up or somebody else's, refresh to less and ask for more, flood, and do not read
// (file attack_test.go). Nothing that they do judges anything: the checker does, by what everybody heard.
//
// TestEmbedded and TestKafka run one suite of cases over real sockets, on the embedded broker and on Apache Kafka in
// containers.
//
// TestPeers has clients that other people wrote talk to a gateway.
//
// TestTotalsOnRealParts runs the services as processes of their own on real Kafka and real Redis, and kills, freezes,
// empties and takes back in time what there is. Its burst lasts as long as -burst says, a minute in full:
//
//	LINKPULSE_REQUIRE_DOCKER=1 go test ./e2e -run TestTotalsOnRealParts -burst 60s -v
//
// How long a click may stall is held against what nobody could help: the time in which no broker answered for the
// partition, what clicks took at the same time where nothing was wrong, and what a foreign client waited for its acks.
// The rest is this system's own.
//
// One checker judges them all: package history.
//
// # What is broken where
//
// The rows of the fault matrix, in its order. T1 is TestSimulation unless something else is named.
//
//	 1 a produce answer is lost, or says an error after the append   T1; T3 TestKafka (stands still); pkg/kafkalog
//	 2 leaders move, twenty times under load: no stall beyond 1 s    T1; T2 TestEmbedded, T3 TestKafka (elected); pkg/kafkalog
//	 3 no leader, too few replicas                                   T1; T3 TestKafka (two of three are killed)
//	 4 a broker is killed with -9, five times                        T2, T3 (killed, killed five times)
//	 5 a broker stands still: other partitions stall 1.5 s at most   T1 (black holes); T2, T3 (stands still)
//	 6 a part is cut off from Kafka, one way and both                T1, T1 TestFirstSubscriberBehindACut; T2, T3 (cut off)
//	 7 ingest is killed in mid-batch, visitors try again             T3 TestTotalsOnRealParts
//	 8 the same request comes again, to three ingests at once        T1 (visitors repeat themselves); T2, T3 (at once)
//	 9 a tally is killed, at every call and at random                ingest/tally TestCrashAtEveryCall, TestModel; T3 (every exchange)
//	10 two owners of a partition, one of them thought dead           T1; T3 TestTotalsOnRealParts
//	11 Redis comes back older than it was, a replica takes over      T1; T3 TestTotalsOnRealParts, TestTotalsConform
//	12 Redis is emptied                                              T1; T3 TestTotalsOnRealParts
//	13 Redis is slow, hangs, is read-only, loads, has no memory      T1; T3 (stands still, slow, replica, memory); gateway/follower
//	14 a gateway is killed, also one with 2,000 dashboards           T1 (cut); T3 TestTotalsOnRealParts
//	15 every part is replaced under load                             T1; T2; T3 TestTotalsOnRealParts (also from outside)
//	19 everybody clicks at once; ten times the load for a minute     T2, T3 (clicks at once); T3 (ten times; -burst 60s)
//	21 retention cuts what the tally has not read                    ingest/tally, by trace; T3 TestTotalsOnRealParts
//	22 the topic is created anew                                     T1 TestRecreatedTopic; T3 TestTotalsOnRealParts; ingest/tally,
//	                                                                 gateway/follower, pkg/kafkalog, by trace
//	23 more partitions than the deployment has                       T2, T3 (more partitions); pkg/kafkalog, pkg/deployment
//	24 records that are no clicks                                    T1; T2, T3 (a foreign producer); pkg/fold
//	25 the disk of Kafka is full                                     T3 TestKafkaWithAFullDisk
//	25 the disk of Redis is full                                     T3 TestTotalsOnRealParts
//	   a new epoch begins under load                                 T1 TestEpochUnderLoad
package e2e
