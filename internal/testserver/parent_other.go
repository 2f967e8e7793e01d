//go:build !linux

package testserver

import "syscall"

// EndWithParent does nothing here: only Linux can.
func EndWithParent(*syscall.SysProcAttr, syscall.Signal) {}
