// Command patrol keeps one Databricks personal access token fresh and keeps
// every local tool signed in with it: a rotator on a schedule, writers for the
// files that tools read, and a proxy on localhost for those that never read
// them again.
//
// This package has one file per subcommand; the packages of internal do the work,
// and session and service wire the rooms. Run "patrol help" for what it does.
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"syscall"

	"patrol/cmd/patrol/internal/cli"
	"patrol/cmd/patrol/internal/service"
	"patrol/cmd/patrol/internal/state"
)

func main() {
	os.Exit(realMain(cli.Process{}))
}

// realMain runs patrol until it is done, with what tests have set in p besides. The
// first of exitSignals cancels its context, and a second one ends the process at once.
func realMain(p cli.Process) int {
	// Only net/http writes to the standard logger: what an upstream has sent out
	// of turn, which could be the token.
	log.SetOutput(io.Discard)
	ctx, stop := signal.NotifyContext(context.Background(), exitSignals(os.Args[1:])...)
	defer stop()
	context.AfterFunc(ctx, stop)
	p.Env, p.Streams = os.Environ(), cli.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}
	return run(ctx, os.Args[1:], p)
}

// exitSignals returns the signals that end a command. A shell without job control
// starts what it puts into the background with SIGINT ignored, which the command
// that takes exec's place must inherit: to listen for it would reset it.
func exitSignals(args []string) []os.Signal {
	switch {
	case len(args) > 0 && args[0] == "exec" && signal.Ignored(os.Interrupt):
		return []os.Signal{syscall.SIGTERM}
	case len(args) > 0 && args[0] == state.ServeCommand && service.HasTerminal():
		return []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGHUP}
	}
	return []os.Signal{os.Interrupt, syscall.SIGTERM}
}

// run is patrol without the process around it. It takes the whole environment
// and not a look-up function, because exec and env pass it on.
func run(ctx context.Context, args []string, p cli.Process) int {
	out := &cli.CheckedWriter{Writer: p.Out}
	p.Out = out
	if len(args) > 0 && args[0] == state.ServeCommand {
		queue := service.NewLogQueue(p.Err)
		defer queue.Close()
		p.Err = queue
	}
	root := newRoot(p)
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil && out.Failed != nil {
		err = fmt.Errorf("writing to stdout: %w", out.Failed)
	}
	return cli.Report(p.Err, err, cli.ProfileFlagsOf(cmd))
}
