package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/spf13/cobra"
	terminal "golang.org/x/term"

	"patrol/rotator"
	"patrol/rotator/pat"
)

const loginLong = `Give patrol a new token to go on from: where it has none, or where the one that
it had is dead. In the workspace, make one under Settings, Developer, Access
tokens; an hour's lifetime is enough.

The token is asked for at a prompt that doesn't show it, or read from stdin. The
workspace is asked whether it takes it; then patrol, the running service or this
command alone, mints its own with it and writes that to the files. The token
that was typed is revoked once nobody uses it any more.`

func newLogin(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "login",
		GroupID: groupService,
		Short:   "Give patrol a new token to go on from",
		Long:    loginLong,
		Example: `  patrol login
  patrol login --profile new --host https://dbc-1234.cloud.databricks.com
  pass show databricks | patrol login`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o, err := a.options(cmd)
			if err != nil {
				return err
			}
			return a.login(cmd.Context(), o)
		},
	}
	addFlags(cmd, "host", "profile", "mint-profile", "keep-bootstrap", "upstream-ca", "listen", "lifetime", "grace", "write", "instance", "state-dir", "log-level", "log-format")
	setDefault(cmd, "log-level", "warn")
	return cmd
}

// login gives the token to the service, or mints with it alone.
func (a *app) login(ctx context.Context, o options) error {
	p, dir, err := a.locate(o)
	if err != nil {
		return err
	}
	running, err := dialProfile(ctx, p, dir, dialPatience)
	switch {
	case err == nil:
		if err := checkHost(o, running); err != nil {
			return err
		}
		return a.loginService(ctx, running)
	case !errors.Is(err, errNoService):
		return err
	}
	t, err := a.resolveTarget(o)
	if err != nil {
		return err
	}
	value, err := a.askToken(ctx, t.workspace.String())
	if err != nil {
		return err
	}
	log := newLog(a.stderr, o.logFormat, o.level)
	led, running, err := a.acquire(ctx, "login", p, dir, o.instance, lockPatience, log)
	if err != nil {
		return err
	}
	if running != nil { // it has started meanwhile
		if err := checkHost(o, running); err != nil {
			return err
		}
		return a.sendLogin(ctx, running, value)
	}
	c, err := a.newCore(ctx, o, t, led, proxyURL(o.listen[0].addr), nil, log)
	if err != nil {
		return err
	}
	defer c.close()
	rotation, err := c.rotator.Login(ctx, pat.New(value, c.client.Host().String()))
	if err != nil {
		return loginFailed(err, rotation)
	}
	err = a.printLogin(newRotateReply(rotation))
	a.printf("%s\n", a.advise("no service runs: start one with: patrol serve"))
	return err
}

// loginService asks for a token and gives it to the running service.
func (a *app) loginService(ctx context.Context, running *controlClient) error {
	value, err := a.askToken(ctx, running.info.Host)
	if err != nil {
		return err
	}
	return a.sendLogin(ctx, running, value)
}

func (a *app) sendLogin(ctx context.Context, running *controlClient, value string) error {
	var r rotateReply
	if err := running.do(ctx, http.MethodPost, "/login", secretReply{Token: value}, &r); err != nil {
		return err
	}
	return a.printLogin(r)
}

// printLogin prints what a login did, and for whom.
func (a *app) printLogin(r rotateReply) error {
	switch {
	case r.User == "":
	case r.UserBefore == "" || r.UserBefore == r.User:
		a.printf("signed in as %s\n", r.User)
	default:
		a.printf("signed in as %s: ANOTHER USER than before, %s\n", r.User, r.UserBefore)
	}
	return a.printRotation(r)
}

// loginFailed says whether the token is in use although something failed.
func loginFailed(err error, rotation rotator.Rotation) error {
	if errors.Is(err, rotator.ErrNeedsLogin) || len(rotation.Files) == 0 {
		return atEdge(err)
	}
	return hinted(fmt.Errorf("the token works and is in use, but patrol could not mint one of its own: %w", err),
		"a running service tries again; or: patrol rotate")
}

// askToken reads a token from the terminal, without showing it, or from stdin.
// It blocks until there is one or ctx is done.
func (a *app) askToken(ctx context.Context, host string) (string, error) {
	read := a.readLine
	if f, ok := a.stdin.(*os.File); ok && terminal.IsTerminal(int(f.Fd())) {
		before, err := terminal.GetState(int(f.Fd()))
		if err != nil {
			return "", fmt.Errorf("asking for the token: %w", err)
		}
		// A read that is given up can't show again what is typed.
		defer func() {
			_ = terminal.Restore(int(f.Fd()), before)
			_, _ = fmt.Fprintln(a.stderr)
		}()
		_, _ = fmt.Fprintf(a.stderr, "token for %s: ", host)
		read = func() (string, error) {
			secret, err := terminal.ReadPassword(int(f.Fd()))
			return string(secret), err
		}
	}
	line, err := awaitLine(ctx, read)
	if err != nil {
		return "", fmt.Errorf("reading the token: %w", err)
	}
	line = strings.TrimSpace(line)
	switch {
	case line == "":
		return "", usageError("type one at the prompt, or: patrol login < FILE", "no token was given")
	case strings.ContainsFunc(line, func(r rune) bool { return r <= ' ' || r > '~' }):
		return "", usageError("it is one word, and usually begins with dapi", "what was given is no token")
	}
	return line, nil
}

// readLine reads a line from stdin, of which the end may be missing.
func (a *app) readLine() (string, error) {
	const longest = 4 << 10
	line, err := bufio.NewReader(io.LimitReader(a.stdin, longest)).ReadString('\n')
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return line, err
}

// awaitLine is read, given up when ctx is done: what reads from a terminal or a
// pipe can't be interrupted. Then it ends with the process, or with its next line.
func awaitLine(ctx context.Context, read func() (string, error)) (string, error) {
	type result struct {
		line string
		err  error
	}
	done := make(chan result, 1)
	go func() {
		line, err := read()
		done <- result{line, err}
	}()
	select {
	case r := <-done:
		return r.line, r.err
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}
