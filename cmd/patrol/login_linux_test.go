package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"patrol/cmd/patrol/internal/cli"
	"patrol/rotator/workspacetest"
)

// openTerminal returns both ends of a new terminal.
func openTerminal(t *testing.T) (keyboard, screen *os.File) {
	t.Helper()
	keyboard, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("no terminals here: %v", err)
	}
	t.Cleanup(func() { _ = keyboard.Close() })
	if err := unix.IoctlSetPointerInt(int(keyboard.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(keyboard.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	screen, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = screen.Close() })
	return keyboard, screen
}

// Ctrl-C at the prompt ends the command at once, and what is typed next is seen.
func TestLoginInterrupted(t *testing.T) {
	t.Parallel()
	s := newSite(t, workspacetest.Config{})
	keyboard, screen := openTerminal(t)
	echoes := func() bool {
		state, err := unix.IoctlGetTermios(int(screen.Fd()), unix.TCGETS)
		if err != nil {
			t.Fatal(err)
		}
		return state.Lflag&unix.ECHO != 0
	}
	if !echoes() {
		t.Fatal("a new terminal doesn't echo")
	}
	p := &process{Cmd: exec.Command("patrol", "login")} //nolint:noctx // the cleanup ends it
	p.Env, p.Stdin, p.Stdout, p.Stderr = s.app.environ, screen, p, p
	p.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { _ = p.Wait(); close(ended) }()
	t.Cleanup(func() { _ = p.Process.Kill(); <-ended })
	await(t, func() bool { return !echoes() })
	const ctrlC = "\x03"
	if _, err := io.WriteString(keyboard, ctrlC); err != nil {
		t.Fatal(err)
	}
	await(t, func() bool {
		select {
		case <-ended:
			return true
		default:
			return false
		}
	})
	if out := p.output(); p.ProcessState.ExitCode() != cli.ExitFailed || !strings.Contains(out, "token for "+s.url) ||
		!strings.Contains(out, "patrol: reading the token: interrupt signal received\n") {
		t.Errorf("%v: %s", p.ProcessState, out)
	}
	if !echoes() {
		t.Error("the terminal is left without echo")
	}
}

// A terminal that Ctrl-S has stopped holds up nothing, and Ctrl-Q shows what was
// logged meanwhile.
func TestLogOnStoppedTerminal(t *testing.T) {
	t.Parallel()
	s := newSite(t, workspacetest.Config{})
	keyboard, screen := openTerminal(t)
	p := s.serveTo(t, screen)
	proxy := s.awaitReady(t)
	const ctrlS = "\x13"
	if _, err := io.WriteString(keyboard, ctrlS); err != nil {
		t.Fatal(err)
	}
	s.works(t, proxy)
	p.ends(t)
}
