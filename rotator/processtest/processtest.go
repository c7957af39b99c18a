// Package processtest runs a test's binary once more: in a role that the test
// gives it, to be killed or to be another user's, or for one test that needs a
// process of its own, with disks of its own.
package processtest

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"
)

const (
	roleVar  = "PATROL_TEST_ROLE"  // what this process is
	againVar = "PATROL_TEST_AGAIN" // the one test that it runs
)

// Main is for TestMain. It runs the tests, or the role that Command started this
// process for, and doesn't return. A role gets Command's arguments and returns
// its exit code.
func Main(m *testing.M, roles map[string]func(args []string) int) {
	if role := os.Getenv(roleVar); role != "" {
		os.Exit(roles[role](os.Args[1:]))
	}
	os.Exit(m.Run())
}

// Command returns the command that runs this binary in a role.
func Command(role string, args ...string) *exec.Cmd {
	return command(roleVar+"="+role, args...)
}

func command(environ string, args ...string) *exec.Cmd {
	exe, err := os.Executable()
	if err != nil {
		panic(err)
	}
	if runtime.GOOS == "linux" {
		exe = "/proc/self/exe" // another user can't reach go test's folder
	}
	cmd := exec.Command(exe, args...)
	// The race detector would wait a second at each exit.
	cmd.Env = append(os.Environ(), environ, "GORACE=atexit_sleep_ms=0")
	return cmd
}

// IsAgain reports whether this is the process that Again has started for the test.
func IsAgain(t *testing.T) bool { return os.Getenv(againVar) == t.Name() }

// Again runs the calling test once more, in a process with these attributes, and
// reports whether this is that process. In the other one, which has to return
// then, the test fails or is skipped as it was there; it is skipped too where no
// such process may be started.
func Again(t *testing.T, attr *syscall.SysProcAttr) bool {
	t.Helper()
	if IsAgain(t) {
		return true
	}
	cmd := command(againVar+"="+t.Name(), "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.SysProcAttr = attr
	out, err := cmd.CombinedOutput()
	switch {
	case errors.Is(err, os.ErrPermission):
		t.Skip("not allowed here: ", err)
	case err != nil:
		t.Errorf("%v\n%s", err, out)
	case bytes.Contains(out, []byte("--- SKIP")):
		t.Skip(string(out))
	case !bytes.Contains(out, []byte("--- PASS: "+t.Name()+" ")):
		t.Errorf("it ran nothing:\n%s", out)
	}
	return false
}
