//go:build !race

package kafkalog

// raceEnabled tells that the race detector is off.
const raceEnabled = false
