// Package history judges a run of the system by what its clients saw.
//
// A [Recorder] takes down every event that a client can see: a click that was acknowledged or whose outcome stayed
// unknown, a count that a gateway told a connection, a count that a dashboard showed. After the run, [Check] takes that
// history together with the whole log of the clicks topic and reports every broken promise. It folds the log itself, in
// the most naive way that the counting rules can be written down, and shares no code with the fold of the services: two
// programs that agree by accident are less likely than one that agrees with itself.
//
// The same checker judges simulations in virtual time, runs over real sockets, runs on real Kafka, and load tests.
package history
