// Package view prints for people what the service and the sessions answer.
package view

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"patrol/cmd/patrol/internal/cli"
	"patrol/cmd/patrol/internal/control"
	"patrol/rotator"
	"patrol/rotator/pat"
)

// Status prints what a patrol is doing.
func Status(o cli.Options, s control.Status, now time.Time) {
	t := cli.NewTable(o.Out)
	defer func() { _ = t.Flush() }()
	line := func(name, what string) {
		if what != "" {
			t.Line("%s\t%s", name, what)
		}
	}
	for _, problem := range s.Problems() {
		line("PROBLEM", o.Advise(problem))
	}
	if s.Running {
		line("service", fmt.Sprintf("pid %d, since %s, patrol %s", s.Service.PID, cli.When(s.Service.Since, now), s.Service.Version))
		line("proxy", s.Service.Addresses())
	}
	line("requests", requests(s.Proxy))
	line("profile", s.Service.Profile)
	line("workspace", s.Host)
	line("state", s.Service.State)
	line("instance", s.Instance)
	line("token", token(s, now))
	line("last rotation", lastRotation(s, now))
	if !s.Next.IsZero() {
		line("next rotation", strings.TrimSpace(cli.When(s.Next, now)+" by the schedule "+s.Service.Schedule))
	}
	if !s.Deadline.IsZero() {
		line("deadline", cli.When(s.Deadline, now)+": rotated by then whatever the schedule says")
	}
	printFiles(t, "file\t", s.Files)
	for _, old := range s.Retiring {
		t.Line("retiring\t%s, %s%s", cli.TokenName(old.ID), waiting(old), cli.Expires(old.Expires, now))
	}
}

// lastRotation tells how the last rotation went, "" if there was none.
func lastRotation(s control.Status, now time.Time) string {
	last, how := s.Last, "done"
	if last.Error != "" {
		how = "FAILED: " + last.Error
	}
	if last.Began.IsZero() {
		return ""
	}
	return fmt.Sprintf("%s (%s): %s", cli.When(last.Began, now), last.Reason, how)
}

// token describes the token in use.
func token(s control.Status, now time.Time) string {
	if s.Token.ID == "" && s.Token.Created.IsZero() && !s.Ready {
		return "none"
	}
	origin := "minted by patrol"
	if !s.Token.Ours {
		origin = "not " + origin
	} else if !s.Token.Created.IsZero() {
		origin += " " + cli.When(s.Token.Created, now)
	}
	return cli.TokenName(s.Token.ID) + ", " + origin + cli.Expires(s.Token.Expires, now)
}

// requests tells of the proxy's in a line, "" if there is none.
func requests(p *control.Proxy) string {
	if p == nil {
		return ""
	}
	all := fmt.Sprintf("%d since the start", p.Requests)
	count := func(n uint64, what string) {
		if n > 0 {
			all += fmt.Sprintf("; %d %s", n, what)
		}
	}
	count(p.NoToken, "answered 503, for lack of a token that works")
	count(p.Failed, "answered 502, for lack of an answer from upstream")
	count(p.Unkept, "passed on without filter and replay, for lack of memory")
	var refused []string
	for _, why := range slices.Sorted(maps.Keys(p.Refused)) {
		if n := p.Refused[why]; n > 0 {
			refused = append(refused, fmt.Sprintf("%d (%s)", n, why))
		}
	}
	if refused != nil {
		all += "; turned away: " + strings.Join(refused, ", ")
	}
	return all
}

// printFiles adds a line per file and returns how many were not written.
func printFiles(t cli.Table, prefix string, files []rotator.FileInfo) (failed int) {
	for _, f := range files {
		how := "written"
		switch {
		case f.Error != "":
			failed++
			how = "NOT WRITTEN: " + pat.Redact(f.Error)
		case !exists(f.Path):
			how = "not there, left out"
		case f.Written.IsZero():
			how = "not written yet"
		}
		t.Line("%s%s\t%s\t%s", prefix, f.Name, f.Path, how)
		for _, left := range f.Left {
			t.Line("%s\t\tleft alone: %s", prefix, pat.Redact(left))
		}
	}
	return failed
}

// waiting says why an old token isn't revoked yet: what it waits for, or what
// went wrong.
func waiting(old rotator.RetiringInfo) string {
	if old.Error != "" {
		return "not revoked yet: " + pat.Redact(old.Error)
	}
	return "waits for " + old.Waits
}

// exists reports whether there is a file, as far as we may see.
func exists(path string) bool {
	_, err := os.Stat(path)
	return !errors.Is(err, fs.ErrNotExist)
}
