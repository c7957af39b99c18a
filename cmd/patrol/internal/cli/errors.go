package cli

import (
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	"patrol/rotator/pat"
)

// Exit codes. 126 and 127 are exec's, as in a shell.
const (
	ExitFailed = 1  // it was tried and didn't work
	ExitLogin  = 3  // there is no token that works: patrol login
	ExitUsage  = 64 // what was asked for makes no sense: nothing was done; 2 is what Go exits with when it panics
)

// ExitUsageBefore is version 1's ExitUsage: its services say it, and units that were
// installed with it.
const ExitUsageBefore = 2

// An Error is an error at the edge of the program: it knows the exit code and
// what its reader can do next. Rooms below return plain errors.
type Error struct {
	Code int
	Err  error  // nil: there is nothing to say
	Hint string // one sentence, without the "hint: "; may be empty
}

func (e *Error) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("exit code %d", e.Code)
	}
	return e.Err.Error()
}

func (e *Error) Unwrap() error { return e.Err }

// Usage says what is wrong with what the user typed or set, and in hint what
// would be right.
func Usage(hint, format string, args ...any) error {
	return &Error{Code: ExitUsage, Err: fmt.Errorf(format, args...), Hint: hint}
}

// IsUsage reports whether err says that what was asked for makes no sense.
func IsUsage(err error) bool { return CodeOf(err) == ExitUsage }

// NeedsLogin wraps an error whose cure is a new token.
func NeedsLogin(err error, hint string) error {
	return &Error{Code: ExitLogin, Err: err, Hint: hint}
}

// Hinted adds to an error of exit code 1 what to do about it.
func Hinted(err error, hint string) error {
	return &Error{Code: ExitFailed, Err: err, Hint: hint}
}

// Silent is an error that has been told already: only its exit code is left.
func Silent(code int) error { return &Error{Code: code} }

// CodeOf returns the exit code of an error, 0 of nil.
func CodeOf(err error) int {
	if edge, ok := errors.AsType[*Error](err); ok {
		return edge.Code
	} else if err != nil {
		return ExitFailed
	}
	return 0
}

// HintOf returns the hint of an error, "" if it has none.
func HintOf(err error) string {
	if edge, ok := errors.AsType[*Error](err); ok {
		return edge.Hint
	}
	return ""
}

// Report prints err, if there is one, for the person who typed the command and
// returns the exit code. flags are the command's own ProfileFlags.
func Report(w io.Writer, err error, flags ProfileFlags) int {
	if edge, ok := errors.AsType[*Error](err); err == nil || ok && edge.Err == nil {
		return CodeOf(err)
	}
	flags.complain(w, "patrol", err.Error())
	if hint := HintOf(err); hint != "" {
		flags.complain(w, "hint", hint)
	}
	return CodeOf(err)
}

// ProfileFlags are the flags of a command line that say which patrol is meant,
// as they are typed: " --profile work". Without them the commands that a message
// tells to type next would be about another patrol.
type ProfileFlags string

// profileCommand matches a command of patrol's that is about one profile.
var profileCommand = regexp.MustCompile(`\bpatrol (serve|rotate|login|logout|status|doctor|token|exec|env|keys(?: (?:new|replace|revoke) [A-Za-z0-9_.-]+)?)\b(?: --(?:profile|help)\b)?`)

// Advise makes a message ready for its reader: redacted, and with the flags in
// the commands that it tells to type next.
func (f ProfileFlags) Advise(s string) string {
	return profileCommand.ReplaceAllStringFunc(pat.Redact(s), func(command string) string {
		if strings.Contains(command, " --") {
			return command
		}
		return command + string(f)
	})
}

func (f ProfileFlags) complain(w io.Writer, kind, what string) {
	_, _ = fmt.Fprintf(w, "%s: %s\n", kind, f.Advise(what)) // there is nobody left to tell
}

// Quote quotes what a user gave for a message.
func Quote(s string) string {
	const enough = 120
	if len(s) > enough {
		s = s[:enough] + "…"
	}
	return strconv.Quote(s)
}

// ShellWord writes a name as it is typed in a shell.
func ShellWord(name string) string {
	if name != "" && strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.@/") == "" {
		return name
	}
	return ShellQuote(name)
}

// ShellQuote puts a text into quotes, in which a POSIX shell changes nothing.
func ShellQuote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
