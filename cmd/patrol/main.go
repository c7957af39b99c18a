// Command patrol keeps one Databricks personal access token fresh and keeps
// every local tool signed in with it: a rotator on a schedule, writers for the
// files that tools read, and a proxy on localhost for those that never read
// them again.
//
// This package knows all the others and wires them: one file per subcommand.
// Run "patrol help" for what it does.
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	os.Exit(mainCode())
}

// mainCode runs patrol until it is done. The first signal that it heeds cancels
// its context, and a second one ends the process at once.
func mainCode() int {
	// Only net/http writes to the standard logger: what an upstream has sent out
	// of turn, which could be the token.
	log.SetOutput(io.Discard)
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, heeded(os.Args[1:])...)
	go func() { // ends with the process
		<-signals
		cancel(interruption{})
		die(<-signals)
	}()
	return run(ctx, os.Args[1:], os.Environ(), os.Stdin, os.Stdout, os.Stderr)
}

// An interruption is a context that was canceled by a signal, in a user's words.
type interruption struct{}

func (interruption) Error() string { return "interrupted" }

// Is has it count as the cancellation that it is.
func (interruption) Is(target error) bool { return target == context.Canceled }

// heeded returns the signals that end a command. A shell without job control
// starts what it puts into the background with SIGINT ignored, which the command
// that takes exec's place must inherit: to listen for it would reset it.
func heeded(args []string) []os.Signal {
	switch {
	case len(args) > 0 && args[0] == "exec" && signal.Ignored(os.Interrupt):
		return []os.Signal{syscall.SIGTERM}
	case len(args) > 0 && args[0] == serveCommand && hasTerminal():
		return []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGHUP}
	}
	return []os.Signal{os.Interrupt, syscall.SIGTERM}
}

// die ends the process as if nobody had listened for the signal.
func die(sig os.Signal) {
	signal.Reset(sig)
	if self, err := os.FindProcess(os.Getpid()); err != nil || self.Signal(sig) != nil {
		os.Exit(exitFailed)
	}
}

// run is patrol without the process around it. It takes the whole environment
// and not a look-up function, because exec and env pass it on.
func run(ctx context.Context, args, environ []string, stdin io.Reader, stdout, stderr io.Writer) int {
	out := &checkedWriter{w: stdout}
	if len(args) > 0 && args[0] == serveCommand {
		queue := newLogQueue(stderr)
		defer queue.close()
		stderr = queue
	}
	a := &app{environ: environ, stdin: stdin, stdout: out, stderr: stderr}
	root := newRoot(a)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil && out.err != nil {
		err = fmt.Errorf("writing to stdout: %w", out.err)
	}
	return a.report(err)
}

// checkedWriter remembers that a write failed, so that no command has to check
// what it prints and none ends well whose output was lost.
type checkedWriter struct {
	w   io.Writer
	err error
}

func (c *checkedWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	if err != nil && c.err == nil {
		c.err = err
	}
	return n, err
}
