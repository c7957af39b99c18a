package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"patrol/rotator"
	"patrol/rotator/ledger"
	"patrol/rotator/pat"
)

const statusLong = `Tell what patrol is doing for a profile: the token in use and when it will be
rotated, the files that it is written to, and the old tokens that are still to
be revoked. If no service runs, it tells what the last one has left behind.

Exit codes: 0 if a service runs and all is well; 3 if it needs a new token; 1 if
no service runs, the last rotation failed, a file can't be written, or something
else is wrong, which the lines that begin with PROBLEM say.`

// A statusReport is what "patrol status --json" prints.
type statusReport struct {
	Running    bool  `json:"running"`
	NeedsLogin bool  `json:"needs_login"` // a new token would mend it
	Service    *ping `json:"service"`     // if none runs, only its profile and state
	rotator.Status
	Proxy *proxyStatus `json:"proxy,omitempty"` // nil if no service runs
}

// A proxyStatus counts what came to the proxy since the service's start.
type proxyStatus struct {
	Requests uint64 `json:"requests"`
	Waited   uint64 `json:"waited"`     // of them, for a token
	NoToken  uint64 `json:"no_token"`   // answered 503
	Failed   uint64 `json:"no_answer"`  // answered 502
	Stale    uint64 `json:"sent_again"` // with a newer token
	Resets   uint64 `json:"resets"`     // sent again after a connection had died
	Unkept   uint64 `json:"unkept"`     // passed on without filter and replay, for lack of memory

	// Refused counts whom the guard turned away, or made wait ("full"), by the
	// reason that the log gives.
	Refused map[string]uint64 `json:"refused"`
}

// String tells of it in a line for people.
func (p *proxyStatus) String() string {
	parts := []string{fmt.Sprintf("%d since the start", p.Requests)}
	for _, count := range []struct {
		n    uint64
		what string
	}{
		{p.NoToken, "answered 503, for lack of a token that works"},
		{p.Failed, "answered 502, for lack of an answer from upstream"},
		{p.Unkept, "passed on without filter and replay, for lack of memory"},
	} {
		if count.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", count.n, count.what))
		}
	}
	var refused []string
	for _, why := range slices.Sorted(maps.Keys(p.Refused)) {
		if n := p.Refused[why]; n > 0 {
			refused = append(refused, fmt.Sprintf("%d (%s)", n, why))
		}
	}
	if refused != nil {
		parts = append(parts, "turned away: "+strings.Join(refused, ", "))
	}
	return strings.Join(parts, "; ")
}

// retiring is an old token in a report.
type retiring = rotator.RetiringInfo

func newStatus(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "status",
		GroupID: groupService,
		Short:   "Tell what is going on",
		Long:    statusLong,
		Example: `  patrol status
  patrol status --profile work --json | jq .token.expires`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o, err := a.options(cmd)
			if err != nil {
				return err
			}
			return a.status(cmd.Context(), o, asJSON)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	addFlags(cmd, "profile", "state-dir")
	return cmd
}

// status prints the report of the service, or of what is left of the last one.
func (a *app) status(ctx context.Context, o options, asJSON bool) error {
	p, dir, err := a.locateKnown(o)
	if err != nil {
		return err
	}
	report, err := readStatus(ctx, p, dir)
	if err != nil {
		return err
	}
	if asJSON {
		enc := json.NewEncoder(a.stdout)
		enc.SetIndent("", "  ")
		_ = enc.Encode(report) // run reports it
	} else {
		a.printStatus(report, time.Now())
	}
	switch {
	case report.Running && report.NeedsLogin:
		return &exitError{code: exitLogin}
	case report.Running && report.Ready && len(report.problems()) == 0:
		return nil
	}
	return &exitError{code: exitFailed}
}

// problems says what is wrong, one sentence each; nothing if all is well.
func (r statusReport) problems() []string {
	var all []string
	if r.Problem != "" {
		all = append(all, r.Problem)
	}
	if r.Last.Error != "" && r.Last.Error != r.Problem {
		all = append(all, "the last rotation failed, why stands below")
	}
	if r.Ledger != "" {
		all = append(all, "the ledger can't be written: "+r.Ledger)
	}
	for _, f := range r.Files {
		if f.Error != "" {
			all = append(all, f.Path+" can't be written, why stands below")
		}
	}
	return all
}

// readStatus asks the service, or reads the ledger if none runs.
func readStatus(ctx context.Context, p selection, dir string) (statusReport, error) {
	running, err := dialProfile(ctx, p, dir, dialPatience)
	var report statusReport
	switch {
	case err == nil:
		err = running.do(ctx, http.MethodGet, "/status", nil, &report)
		return report, err
	case !errors.Is(err, errNoService):
		return report, err
	}
	instance, entries, err := ledger.Read(dir)
	if err != nil {
		return report, fmt.Errorf("reading the ledger: %w", err)
	}
	report.Service = &ping{Profile: p.name, State: dir}
	report.Instance = instance
	report.Problem = "no patrol runs for this profile; start it with: patrol serve"
	report.Files, report.Retiring = []fileStatus{}, []retiring{}
	for _, e := range entries {
		switch {
		case e.Stage == ledger.Current:
			report.Host = e.Host.String()
			report.Token = rotator.DescribeToken(e)
		case !e.Stage.Ended():
			report.Retiring = append(report.Retiring, retiring{ID: e.ID, Expires: e.Expiry, Waits: "the next start of patrol"})
		}
	}
	return report, nil
}

// printStatus prints a report for people.
func (a *app) printStatus(r statusReport, now time.Time) {
	tw := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	defer func() { _ = tw.Flush() }() // run reports it
	line := func(format string, args ...any) { _, _ = fmt.Fprintf(tw, format+"\n", args...) }
	for _, problem := range r.problems() {
		line("PROBLEM\t%s", a.advise(problem))
	}
	if r.Running {
		line("service\tpid %d, since %s, patrol %s", r.Service.PID, when(r.Service.Since, now), r.Service.Version)
		line("proxy\t%s", r.Service.addresses())
	}
	if r.Proxy != nil {
		line("requests\t%s", r.Proxy)
	}
	line("profile\t%s", r.Service.Profile)
	if r.Host != "" {
		line("workspace\t%s", r.Host)
	}
	line("state\t%s", r.Service.State)
	if r.Instance != "" {
		line("instance\t%s", r.Instance)
	}
	printToken(line, r, now)
	printRotations(line, r, now)
	printFiles(tw, "file\t", r.Files)
	for _, old := range r.Retiring {
		line("retiring\t%s, %s%s", tokenName(old.ID), waiting(old), expires(old.Expires, now))
	}
}

func printToken(line func(string, ...any), r statusReport, now time.Time) {
	if r.Token.ID == "" && r.Token.Created.IsZero() && !r.Ready {
		line("token\tnone")
		return
	}
	origin := "not minted by patrol"
	if r.Token.Ours {
		origin = "minted by patrol"
		if !r.Token.Created.IsZero() {
			origin += " " + when(r.Token.Created, now)
		}
	}
	line("token\t%s, %s%s", tokenName(r.Token.ID), origin, expires(r.Token.Expires, now))
}

func printRotations(line func(string, ...any), r statusReport, now time.Time) {
	if last := r.Last; !last.Began.IsZero() {
		how := "done"
		if last.Error != "" {
			how = "FAILED: " + last.Error
		}
		line("last rotation\t%s (%s): %s", when(last.Began, now), last.Reason, how)
	}
	if !r.Next.IsZero() {
		line("next rotation\t%s", strings.TrimSpace(when(r.Next, now)+" by the schedule "+r.Service.Schedule))
	}
	if !r.Deadline.IsZero() {
		line("deadline\t%s: rotated by then whatever the schedule says", when(r.Deadline, now))
	}
}

// printFiles prints a line per file and returns how many were not written.
func printFiles(w io.Writer, prefix string, files []fileStatus) (failed int) {
	for _, f := range files {
		how := "written"
		switch {
		case f.Error != "":
			failed++
			how = "NOT WRITTEN: " + redact(f.Error)
		case !exists(f.Path):
			how = "not there, left out"
		case f.Written.IsZero():
			how = "not written yet"
		}
		_, _ = fmt.Fprintf(w, "%s%s\t%s\t%s\n", prefix, f.Name, f.Path, how)
		for _, left := range f.Left {
			_, _ = fmt.Fprintf(w, "%s\t\tleft alone: %s\n", prefix, redact(left))
		}
	}
	return failed
}

// waiting says why an old token isn't revoked yet: what it waits for, or what
// went wrong.
func waiting(old retiring) string {
	if old.Error != "" {
		return "not revoked yet: " + redact(old.Error)
	}
	return "waits for " + old.Waits
}

// exists reports whether there is a file, as far as we may see.
func exists(path string) bool {
	_, err := os.Stat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

// tokenName is how a token is shown.
func tokenName(id string) string {
	if id == "" {
		return "id unknown"
	}
	return pat.ShortID(id)
}

func expires(t, now time.Time) string {
	if t.IsZero() {
		return ""
	}
	return ", expires " + when(t, now)
}

// when tells a time as people read it: how far away, and exactly.
func when(t, now time.Time) string {
	d := t.Sub(now).Round(time.Second)
	distance := "now"
	switch {
	case d > 0:
		distance = "in " + d.String()
	case d < 0:
		distance = (-d).String() + " ago"
	}
	return fmt.Sprintf("%s (%s)", distance, t.UTC().Format(time.RFC3339))
}
