//go:build !race

package api

// raceEnabled tells that the race detector is off.
const raceEnabled = false
