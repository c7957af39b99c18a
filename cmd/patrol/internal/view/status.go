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
	"patrol/rotator/pat"
)

// Status prints what a patrol is doing.
func Status(o cli.Options, s control.Status, now time.Time) {
	t := cli.NewTable(o.Out)
	defer func() { _ = t.Flush() }()
	for _, problem := range s.Problems() {
		t.Line("PROBLEM\t%s", o.Advise(problem))
	}
	if s.Running {
		t.Line("service\tpid %d, since %s, patrol %s", s.Service.PID, cli.When(s.Service.Since, now), s.Service.Version)
		t.Line("proxy\t%s", s.Service.Addresses())
	}
	if s.Proxy != nil {
		t.Line("requests\t%s", requests(s.Proxy))
	}
	t.Line("profile\t%s", s.Service.Profile)
	if s.Host != "" {
		t.Line("workspace\t%s", s.Host)
	}
	t.Line("state\t%s", s.Service.State)
	if s.Instance != "" {
		t.Line("instance\t%s", s.Instance)
	}
	t.Line("token\t%s", token(s, now))
	if last := s.Last; !last.Began.IsZero() {
		how := "done"
		if last.Error != "" {
			how = "FAILED: " + last.Error
		}
		t.Line("last rotation\t%s (%s): %s", cli.When(last.Began, now), last.Reason, how)
	}
	if !s.Next.IsZero() {
		t.Line("next rotation\t%s", strings.TrimSpace(cli.When(s.Next, now)+" by the schedule "+s.Service.Schedule))
	}
	if !s.Deadline.IsZero() {
		t.Line("deadline\t%s: rotated by then whatever the schedule says", cli.When(s.Deadline, now))
	}
	printFiles(t, "file\t", s.Files)
	for _, old := range s.Retiring {
		t.Line("retiring\t%s, %s%s", cli.TokenName(old.ID), waiting(old), cli.Expires(old.Expires, now))
	}
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

// requests tells of the proxy's in a line.
func requests(p *control.Proxy) string {
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
func printFiles(t cli.Table, prefix string, files []control.File) (failed int) {
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
func waiting(old control.Retiring) string {
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
