//go:build !linux

package bench

// newNotifier returns a notifier for sockets: this system has no epoll.
func newNotifier() (notifier, error) { return newWatchers(), nil }
