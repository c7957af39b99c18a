package cli

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	terminal "golang.org/x/term"
)

// AskToken reads a token for a workspace from the terminal, without showing it,
// or from In. It blocks until there is one or ctx is done.
func (s Streams) AskToken(ctx context.Context, host string) (string, error) {
	read := s.readLine
	if f, ok := s.In.(*os.File); ok && terminal.IsTerminal(int(f.Fd())) {
		before, err := terminal.GetState(int(f.Fd()))
		if err != nil {
			return "", fmt.Errorf("asking for the token: %w", err)
		}
		// A read that is given up can't show again what is typed.
		defer func() {
			_ = terminal.Restore(int(f.Fd()), before)
			_, _ = fmt.Fprintln(s.Err)
		}()
		_, _ = fmt.Fprintf(s.Err, "token for %s: ", host)
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
		return "", Usage("type one at the prompt, or: patrol login < FILE", "no token was given")
	case strings.ContainsFunc(line, func(r rune) bool { return r <= ' ' || r > '~' }):
		return "", Usage("it is one word, and usually begins with dapi", "what was given is no token")
	}
	return line, nil
}

// readLine reads a line from In, of which the end may be missing.
func (s Streams) readLine() (string, error) {
	const longest = 4 << 10
	lines := bufio.NewScanner(io.LimitReader(s.In, longest))
	lines.Scan()
	return lines.Text(), lines.Err()
}

// awaitLine is read, given up when ctx is done: what reads from a terminal or a
// pipe can't be interrupted. Then it ends with the process, or with its next line.
func awaitLine(ctx context.Context, read func() (string, error)) (string, error) {
	var line string
	var err error
	done := make(chan struct{})
	go func() {
		line, err = read()
		close(done)
	}()
	select {
	case <-done:
		return line, err
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}
