package processrunner

import (
	"fmt"
	"syscall"
)

// awaitExit returns when a child has ended, and leaves it to be reaped.
func awaitExit(pid int) error {
	const byPID = 1 // P_PID, which package syscall does not have.
	for {
		_, _, errno := syscall.Syscall6(syscall.SYS_WAITID, byPID, uintptr(pid), 0, syscall.WEXITED|syscall.WNOWAIT, 0, 0)
		switch errno {
		case 0:
			return nil
		case syscall.EINTR:
		default:
			return fmt.Errorf("processrunner: waiting: %w", errno)
		}
	}
}
