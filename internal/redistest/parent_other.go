//go:build !linux

package redistest

import "syscall"

// endWithParent does nothing here: only Linux can.
func endWithParent(*syscall.SysProcAttr) {}
