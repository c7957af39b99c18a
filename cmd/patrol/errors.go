package main

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"patrol/rotator/pat"
)

// Exit codes. 126 and 127 are exec's, as in a shell.
const (
	exitFailed = 1  // it was tried and didn't work
	exitLogin  = 3  // there is no token that works: patrol login
	exitUsage  = 64 // what was asked for makes no sense: nothing was done; 2 is what Go exits with when it panics
)

// exitError is an error at the edge of the program: it knows the exit code and
// what its reader can do next. Rooms below return plain errors.
type exitError struct {
	code int
	err  error  // nil: there is nothing to say
	hint string // one sentence, without the "hint: "; may be empty
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// usageError says what is wrong with what the user typed or set, and in hint
// what would be right.
func usageError(hint, format string, args ...any) error {
	return &exitError{code: exitUsage, err: fmt.Errorf(format, args...), hint: hint}
}

// needsLogin wraps an error whose cure is a new token.
func needsLogin(err error, hint string) error {
	return &exitError{code: exitLogin, err: err, hint: hint}
}

// hinted adds to an error of exit code 1 what to do about it.
func hinted(err error, hint string) error {
	return &exitError{code: exitFailed, err: err, hint: hint}
}

// report prints err, if there is one, for the person who typed the command and
// returns the exit code.
func (a *app) report(err error) int {
	if err == nil {
		return 0
	}
	edge, ok := errors.AsType[*exitError](err)
	if ok && edge.err == nil {
		return edge.code // it has been said already
	}
	a.complain("patrol", err.Error())
	if !ok {
		return exitFailed
	}
	if edge.hint != "" {
		a.complain("hint", edge.hint)
	}
	return edge.code
}

// complain writes one line to stderr.
func (a *app) complain(kind, what string) {
	_, _ = fmt.Fprintf(a.stderr, "%s: %s\n", kind, a.advise(what)) // there is nobody left to tell
}

// redact hides tokens in a message. Ours never hold one; but people paste theirs
// where a host or a name belongs, and messages end up in logs.
func redact(s string) string { return pat.Redact(s) }

// profileCommand matches a command of patrol's that is about one profile.
var profileCommand = regexp.MustCompile(`\bpatrol (serve|rotate|login|logout|status|doctor|token|exec|env)\b(?: --(?:profile|help)\b)?`)

// advise makes a message ready for its reader: redacted, and with the profile and
// state folder that the command line names in the commands to type next, which
// without them would be about another patrol.
func (a *app) advise(s string) string {
	s = redact(s)
	return profileCommand.ReplaceAllStringFunc(s, func(command string) string {
		if strings.Contains(command, " --") {
			return command
		}
		return command + a.chosen
	})
}

// quote quotes what a user gave for a message.
func quote(s string) string {
	const enough = 120
	if len(s) > enough {
		s = s[:enough] + "…"
	}
	return strconv.Quote(s)
}
