//go:build unix

package main

import (
	"bufio"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// start runs "patrol exec" with a real process and returns its first line.
func start(t *testing.T, args ...string) (*exec.Cmd, string) {
	t.Helper()
	cmd := exec.Command("patrol", append([]string{"exec", "--"}, args...)...) //nolint:noctx // the test ends it
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir()}
	cmd.Stderr = t.Output()
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return cmd, strings.TrimSpace(line)
}

// The command takes patrol's place: same process, so signals, job control and
// exit codes need no passing on.
func TestExecIsTheCommand(t *testing.T) {
	cmd, line := start(t, "sh", "-c", "echo $$; read x")
	if line != strconv.Itoa(cmd.Process.Pid) {
		t.Errorf("the command is process %s, patrol was %d", line, cmd.Process.Pid)
	}
}

func TestExecSignals(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGPIPE, syscall.SIGKILL} {
		if signal.Ignored(sig) {
			continue // as under nohup: the command is to ignore it, too
		}
		// Nothing of how the Go runtime treats signals is left behind.
		cmd, _ := start(t, "sh", "-c", "echo ready; exec sleep 60")
		if err := cmd.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
		err := cmd.Wait()
		status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
		if !ok || !status.Signaled() || status.Signal() != sig {
			t.Errorf("%v: ended by %v, %v", sig, cmd.ProcessState, err)
		}
	}
	cmd, _ := start(t, "sh", "-c", `trap 'exit 42' TERM; echo ready; while :; do sleep 0.01; done`)
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if _ = cmd.Wait(); cmd.ProcessState.ExitCode() != 42 {
		t.Errorf("a handled signal: %v", cmd.ProcessState)
	}
}
