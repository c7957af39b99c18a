package demo

import (
	"os/exec"
	"syscall"
)

// endWithParent has the kernel end cmd if this process is killed and can't do it.
// Strictly it is the thread that starts cmd, but Go keeps its threads.
func endWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
