package redistest

import "syscall"

// endWithParent ends the server, also a paused one, when the test process is killed.
func endWithParent(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGKILL }
