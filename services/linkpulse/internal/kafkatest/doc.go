// Package kafkatest runs real Apache Kafka in containers for tests: one broker or three, in the clear or with TLS and
// SASL/SCRAM, and the ways to hurt it that matter: kill -9, restart, pause.
//
// Where no Docker engine answers, tests that need one are skipped, loudly; with LINKPULSE_REQUIRE_DOCKER=1, as in CI,
// they fail instead. The engine must publish ports on this machine's loopback interface, because a broker advertises
// the address by which clients come back to it after a restart.
package kafkatest
