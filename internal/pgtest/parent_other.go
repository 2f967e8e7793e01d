//go:build !linux

package pgtest

import "syscall"

// endWithParent does nothing here: only Linux can.
func endWithParent(*syscall.SysProcAttr) {}
