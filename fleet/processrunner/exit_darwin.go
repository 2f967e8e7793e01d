package processrunner

import (
	"errors"
	"fmt"
	"syscall"
)

// awaitExit returns when a child has ended, and leaves it to be reaped. It does not use waitid, which
// returns here when a child is merely stopped.
func awaitExit(pid int) error {
	queue, err := syscall.Kqueue()
	if err != nil {
		return fmt.Errorf("processrunner: waiting: %w", err)
	}
	defer func() { _ = syscall.Close(queue) }()
	var exit syscall.Kevent_t
	syscall.SetKevent(&exit, pid, syscall.EVFILT_PROC, syscall.EV_ADD|syscall.EV_ONESHOT)
	exit.Fflags = syscall.NOTE_EXIT
	for {
		_, err := syscall.Kevent(queue, []syscall.Kevent_t{exit}, make([]syscall.Kevent_t, 1), nil)
		switch {
		case err == nil || errors.Is(err, syscall.ESRCH): // The latter when it had ended before.
			return nil
		case !errors.Is(err, syscall.EINTR):
			return fmt.Errorf("processrunner: waiting: %w", err)
		}
	}
}
