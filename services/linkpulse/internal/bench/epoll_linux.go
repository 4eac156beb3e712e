package bench

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// epoll is the notifier for sockets. The Go runtime polls by itself, which wakes a goroutine on one of its threads; this
// one is asked by the goroutine that reads, and its timer is one of the kernel, which comes within microseconds.
type epoll struct {
	fd, timer int
	armed     time.Time // when the timer is due, or was
	owners    []handler // by file descriptor
	events    [maxEvents]unix.EpollEvent
	ready     []handler
}

// maxEvents is how many lines are served before the next look at the clock's and the kernel's news.
const maxEvents = 64

func newNotifier() (notifier, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("waiting for connections: %w", os.NewSyscallError("epoll_create1", err))
	}
	timer, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("waiting for a time: %w", os.NewSyscallError("timerfd_create", err))
	}
	p := &epoll{fd: fd, timer: timer}
	if err := p.watch(timer, nil); err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

// watch adds a descriptor to the set.
func (p *epoll) watch(fd int, h handler) error {
	for len(p.owners) <= fd {
		p.owners = append(p.owners, nil)
	}
	p.owners[fd] = h
	event := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLRDHUP, Fd: int32(fd)} //nolint:gosec // the kernel's descriptors are int
	if err := unix.EpollCtl(p.fd, unix.EPOLL_CTL_ADD, fd, &event); err != nil {
		return fmt.Errorf("waiting for a connection: %w", os.NewSyscallError("epoll_ctl", err))
	}
	return nil
}

// add takes the socket out of the runtime's hands, whose poller would wake a thread for every frame as well: the line is a
// duplicate, and the original is closed.
func (p *epoll) add(c net.Conn, h handler) (line, error) {
	defer c.Close()
	s, ok := c.(syscall.Conn)
	if !ok {
		return nil, fmt.Errorf("waiting for a connection: a %T is no socket", c)
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return nil, err
	}
	fd := -1
	err = errors.Join(raw.Control(func(of uintptr) { fd, err = unix.FcntlInt(of, unix.F_DUPFD_CLOEXEC, 0) }), err)
	if err != nil {
		return nil, fmt.Errorf("taking a connection over: %w", err)
	}
	if err := p.watch(fd, h); err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	return &socket{fd: fd, of: p}, nil
}

// begin makes the thread one that is rarely kept waiting for a CPU: it asks the scheduler for short turns, which come
// sooner (sched_setattr(2), since Linux 6.12). A load generator uses little of a CPU and is late where it waits for a
// thread that uses all of it. Where it is not granted, the result tells how late that was. The thread ends with the
// goroutine, so nobody else gets it.
func (p *epoll) begin() {
	runtime.LockOSThread()
	attr, err := unix.SchedGetAttr(0, 0)
	if err == nil && attr.Policy == unix.SCHED_NORMAL {
		attr.Runtime = uint64(turn)
		_ = unix.SchedSetAttr(0, attr, 0)
	}
}

// turn is how long a turn of the generator's thread is to be, the shortest that there is.
const turn = 100 * time.Microsecond

func (p *epoll) wait(until time.Time) ([]handler, error) {
	patience := -1
	switch left := time.Until(until); {
	case left <= 0:
		patience = 0
	case !until.Equal(p.armed): // setting it costs as much as reading a frame
		in := unix.ItimerSpec{Value: unix.NsecToTimespec(int64(left))}
		if err := unix.TimerfdSettime(p.timer, 0, &in, nil); err != nil {
			return nil, fmt.Errorf("waiting for a time: %w", os.NewSyscallError("timerfd_settime", err))
		}
		p.armed = until
	}
	n, err := unix.EpollWait(p.fd, p.events[:], patience)
	if err != nil && !errors.Is(err, unix.EINTR) {
		return nil, fmt.Errorf("waiting for connections: %w", os.NewSyscallError("epoll_wait", err))
	}
	p.ready = p.ready[:0]
	for i := range max(n, 0) {
		if h := p.owners[p.events[i].Fd]; h != nil { // the timer has none; setting it anew takes its event back
			p.ready = append(p.ready, h)
		}
	}
	return p.ready, nil
}

func (p *epoll) close() {
	for fd, h := range p.owners {
		if h != nil {
			_ = unix.Close(fd)
		}
	}
	_ = unix.Close(p.timer)
	_ = unix.Close(p.fd)
}

// socket is a line of epoll.
type socket struct {
	fd int
	of *epoll
}

func (s *socket) Read(b []byte) (int, error) {
	n, err := unix.Read(s.fd, b)
	switch {
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
		return 0, nil
	case err != nil:
		return 0, os.NewSyscallError("read", err)
	case n == 0 && len(b) > 0:
		return 0, io.EOF
	}
	return n, nil
}

// Write waits for room where the socket's buffer is full: nothing that is written here comes near it while the system
// still reads.
func (s *socket) Write(b []byte) (written int, err error) {
	for written < len(b) {
		n, err := unix.Write(s.fd, b[written:])
		switch {
		case errors.Is(err, unix.EAGAIN):
			full := []unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLOUT}} //nolint:gosec // as above
			if free, err := unix.Poll(full, int(stuck.Milliseconds())); free == 0 && err == nil {
				return written, fmt.Errorf("nothing was read for %v: %w", stuck, os.ErrDeadlineExceeded)
			}
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return written, os.NewSyscallError("write", err)
		}
		written += max(n, 0)
	}
	return written, nil
}

func (s *socket) Close() error {
	s.of.owners[s.fd] = nil
	return unix.Close(s.fd) // which takes it out of the set
}

// stuck is how long a write waits for room.
const stuck = 10 * time.Second
