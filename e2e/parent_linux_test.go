package e2e_test

import "syscall"

// endWithParent ends a process when the tests are killed.
func endWithParent(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGKILL }
