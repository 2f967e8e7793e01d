package testserver

import "syscall"

// EndWithParent makes a child process get the signal when the process that starts it is killed.
func EndWithParent(attr *syscall.SysProcAttr, signal syscall.Signal) { attr.Pdeathsig = signal }
