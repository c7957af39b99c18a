package processtest_test

import (
	"os/exec"
	"strings"
	"testing"

	"patrol/rotator/processtest"
)

func TestMain(m *testing.M) {
	processtest.Main(m, map[string]func([]string) int{"echo": func(args []string) int {
		print(strings.Join(args, " "))
		return 7
	}})
}

func TestCommand(t *testing.T) {
	out, err := processtest.Command("echo", "a", "b").CombinedOutput()
	exit, ok := err.(*exec.ExitError) //nolint:errorlint // Run wraps nothing
	if !ok || exit.ExitCode() != 7 || string(out) != "a b" {
		t.Errorf("%v, %q", err, out)
	}
}

func TestAgain(t *testing.T) {
	t.Run("skipped there, skipped here", func(t *testing.T) {
		if processtest.Again(t, nil) {
			t.Skip("there")
		}
		t.Error("it is not skipped")
	})
}
