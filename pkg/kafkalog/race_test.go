//go:build race

package kafkalog

// raceEnabled tells that the race detector is on: sync.Pool then drops some of what it is given, on purpose.
const raceEnabled = true
