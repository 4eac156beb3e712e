//go:build !race

package apikey

// raceEnabled tells that the race detector is off.
const raceEnabled = false
