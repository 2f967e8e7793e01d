//go:build !linux

package e2e_test

import "syscall"

// endWithParent does nothing here: only Linux can.
func endWithParent(*syscall.SysProcAttr) {}
