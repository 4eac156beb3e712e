// Package clickpb is the Go code that protoc-gen-go makes of proto/linkpulse/v1: the messages that lie in Kafka. `make gen`
// makes it again.
//
// The hot path encodes and reads [Click] by hand (package click); the tests here hold the two together, so that a field
// number cannot drift.
package clickpb
