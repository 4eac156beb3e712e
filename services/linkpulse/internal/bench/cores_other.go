//go:build !linux

package bench

// usableCPUs returns none: processes are not bound to CPUs here.
func usableCPUs() ([]int, error) { return nil, nil }

func startOn(_ []int, start func() error) error { return start() }

func bind([]int) error { return nil }
