package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"patrol/credwriter"
	"patrol/rotator/pat"
)

const execLong = `Run a command signed in with patrol: its environment has no token, host or client
secret frozen in it, names the profile that patrol keeps fresh, and points agents
at patrol's proxy. "patrol env" prints what is changed.

The command takes patrol's place: signals, exit code and terminal are its own.
127 means that it wasn't found, 126 that it couldn't be run, as in a shell.`

// Exit codes of a shell, for commands that it can't run.
const (
	exitNotRunnable = 126
	exitNotFound    = 127
)

func newExec(a *app) *cobra.Command {
	var wait time.Duration
	cmd := &cobra.Command{
		Use:     "exec [flags] -- COMMAND [ARGUMENT...]",
		GroupID: groupUse,
		Short:   "Run a command signed in",
		Long:    execLong,
		Example: `  patrol exec -- opencode
  patrol exec -- databricks jobs list
  patrol exec --profile work -- claude -p "what does this repository do?"
  patrol serve & patrol exec --wait-ready 30s -- ./agent     # in a container`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usageError("for example: patrol exec -- opencode", "no command is given")
			}
			if wait > 0 {
				if err := a.awaitSignedIn(cmd, wait); err != nil {
					return err
				}
			}
			changes, addr, err := a.signIn(cmd)
			if err != nil {
				return err
			}
			path, err := findCommand(args[0])
			if err != nil {
				return err
			}
			if wait == 0 {
				a.warnIfClosed(cmd.Context(), addr)
			}
			return a.become(path, args, applyEnv(a.environ, changes))
		},
	}
	// What stands after the command is the command's, flags too.
	cmd.Flags().SetInterspersed(false)
	cmd.Flags().DurationVar(&wait, "wait-ready", 0, "wait so long for the service, until the profile holds a token that works")
	addFlags(cmd, "profile", "listen", "state-dir")
	return cmd
}

// signIn returns the changes that sign a process in, and the proxy's address.
func (a *app) signIn(cmd *cobra.Command) ([]envChange, netip.AddrPort, error) {
	o, err := a.options(cmd)
	if err != nil {
		return nil, netip.AddrPort{}, err
	}
	var addr netip.AddrPort
	p, err := a.existingProfile(o)
	if err != nil {
		return nil, addr, err
	}
	if read, err := credwriter.ReadProfile(p.file, p.name); err == nil && !read.Exists {
		a.complain("patrol: warning", fmt.Sprintf("there is no %s: Databricks tools will not find a token; to make it: patrol login --host https://…", p))
	}
	if addr, err = a.proxyAddress(cmd.Context(), o, p); err != nil {
		return nil, addr, err
	}
	if addr.Port() == 0 {
		return nil, addr, usageError("start it, or name its port", "--listen %s: no service runs that would say on which port it listens", addr)
	}
	return a.agentEnv(p.name, addr), addr, nil
}

// proxyAddress returns where the profile's proxy is: what the user says counts,
// unless it is to be chosen by the service. The default address is refused where
// another profile's service has it: agents would be signed in as whoever that is
// for.
func (a *app) proxyAddress(ctx context.Context, o options, p selection) (netip.AddrPort, error) {
	addr := o.listen[0].addr
	if o.listenGiven && addr.Port() != 0 {
		return addr, nil
	}
	dir, err := a.stateDir(o, p.name)
	if err != nil {
		return addr, err
	}
	if found, err := a.findProxy(ctx, dir, p); err != nil || found.IsValid() {
		return found, err
	}
	if other := holdsPort(a.neighbors(ctx, dir, dialPatience), addr); other != nil {
		return addr, hinted(fmt.Errorf("no patrol runs for profile %s, and %s is the proxy of the one for profile %s (pid %d)", p.name, addr, other.Profile, other.PID),
			fmt.Sprintf("start one: patrol serve --profile %s --listen 127.0.0.1:4001; or, if that proxy is meant: --listen %s", argument(p.name), addr))
	}
	return addr, nil
}

// awaitSignedIn waits until the profile's service has a token that works and the
// profile holds it.
func (a *app) awaitSignedIn(cmd *cobra.Command, patience time.Duration) error {
	o, err := a.options(cmd)
	if err != nil {
		return err
	}
	p, dir, err := a.locate(o)
	if err != nil {
		return err
	}
	const pause = 50 * time.Millisecond
	ctx, cancel := context.WithTimeout(cmd.Context(), patience)
	defer cancel()
	for {
		why := signedIn(ctx, p, dir)
		if edge, ok := errors.AsType[*exitError](why); why == nil || ok && edge.code == exitUsage {
			return why
		}
		select {
		case <-ctx.Done():
			if err := context.Cause(cmd.Context()); err != nil {
				return fmt.Errorf("waiting to be signed in: %w", err)
			}
			return fmt.Errorf("not signed in after %v: %w", patience, why)
		case <-time.After(pause):
		}
	}
}

// signedIn says what is missing until a program that reads the profile is signed
// in.
func signedIn(ctx context.Context, p selection, dir string) error {
	running, err := dialProfile(ctx, p, dir, dialPatience)
	if err != nil {
		return err
	}
	var secret secretReply
	if err := running.do(ctx, http.MethodGet, "/token", nil, &secret); err != nil {
		return err
	}
	read, err := credwriter.ReadProfile(p.file, p.name)
	if err != nil {
		return fmt.Errorf("reading the profile: %w", err)
	}
	if !read.Token.Same(pat.New(secret.Token, "")) {
		return fmt.Errorf("%s doesn't hold the current token yet", p)
	}
	return nil
}

// findProxy asks the service of a state folder where its proxy listens. If none runs the
// answer isn't valid. It is an error only if the service is another profile's.
func (a *app) findProxy(ctx context.Context, dir string, p selection) (netip.AddrPort, error) {
	const patience = 250 * time.Millisecond
	running, err := dialControl(ctx, dir, patience)
	if err != nil {
		return netip.AddrPort{}, nil //nolint:nilerr // as good as none
	}
	if err := running.serves(p, dir); err != nil || len(running.info.Listen) == 0 {
		return netip.AddrPort{}, err
	}
	addr, err := netip.ParseAddrPort(running.info.Listen[0])
	if err != nil {
		return netip.AddrPort{}, nil //nolint:nilerr // nothing that could be used
	}
	return addr, nil
}

// warnIfClosed says that the proxy isn't there. It is no error: the command may
// not need it, or may start before it.
func (a *app) warnIfClosed(ctx context.Context, addr netip.AddrPort) {
	const patience = 250 * time.Millisecond
	d := net.Dialer{Timeout: patience}
	conn, err := d.DialContext(ctx, "tcp", addr.String())
	if err != nil {
		a.complain("patrol: warning", fmt.Sprintf("nothing listens on %s; start it with: patrol serve", addr))
		return
	}
	_ = conn.Close()
}

// findCommand finds a command as a shell does.
func findCommand(name string) (string, error) {
	path, err := exec.LookPath(name)
	switch {
	case err == nil:
		return path, nil
	case errors.Is(err, exec.ErrDot):
		return "", &exitError{code: exitNotFound, err: fmt.Errorf("%s: found in the current folder only", quote(name)), hint: "if you mean it: ./" + name}
	case errors.Is(err, exec.ErrNotFound) && unrunnable(name):
		err = fs.ErrPermission
	case errors.Is(err, exec.ErrNotFound), errors.Is(err, fs.ErrNotExist):
		return "", &exitError{code: exitNotFound, err: fmt.Errorf("%s: command not found", quote(name))}
	}
	hint := ""
	if errors.Is(err, fs.ErrPermission) {
		hint = "chmod +x makes a file a command"
	}
	if e, ok := errors.AsType[*exec.Error](err); ok {
		err = e.Err // the name is said already
	}
	return "", &exitError{code: exitNotRunnable, err: fmt.Errorf("%s: %w", quote(name), err), hint: hint}
}

// unrunnable reports whether a file of that name stands in the PATH and isn't a
// command.
func unrunnable(name string) bool {
	if name == "" || strings.ContainsRune(name, filepath.Separator) {
		return false
	}
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		if info, err := os.Stat(filepath.Join(dir, name)); err == nil && info.Mode().IsRegular() {
			return true
		}
	}
	return false
}
