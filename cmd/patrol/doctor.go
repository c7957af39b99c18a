package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"patrol/credwriter"
	"patrol/proxy"
	"patrol/rotator/ledger"
	"patrol/rotator/pat"
)

const doctorLong = `Look for what keeps patrol, or the tools that it signs in, from working, and say
how to mend it: the service, its systemd unit and its socket, the port, the
environment of this shell, the profile, the files, the schedule, the token, the
workspace's clock and token quota, tokens that patrol has lost track of, the
profile that mints when the token is dead, and the upstreams.

It changes nothing, and works with no service, no network and no token. What the
running service was told by flags it knows itself; where none runs, give this
command the same flags.

Exit codes: 0 if nothing fails, warnings or not; 1 if something does.`

// doctorPatience is what each check may take.
const doctorPatience = 5 * time.Second

// The grades of a finding.
const (
	gradeOK   = "ok"
	gradeWarn = "warn"
	gradeFail = "fail"
)

// A finding is what one check has found.
type finding struct {
	Name   string `json:"name"`
	Status string `json:"status"` // a grade
	What   string `json:"what"`
	Mend   string `json:"mend,omitempty"` // what to do; "" if nothing is
}

func fine(name, format string, args ...any) finding {
	return finding{Name: name, Status: gradeOK, What: fmt.Sprintf(format, args...)}
}

func warning(name, mend, format string, args ...any) finding {
	return finding{Name: name, Status: gradeWarn, What: fmt.Sprintf(format, args...), Mend: mend}
}

func failure(name, mend, format string, args ...any) finding {
	return finding{Name: name, Status: gradeFail, What: fmt.Sprintf(format, args...), Mend: mend}
}

// failed makes a finding of an error, with the hint that it has.
func failed(name, mend string, err error) finding {
	if edge, ok := errors.AsType[*exitError](err); ok && edge.hint != "" {
		mend = edge.hint
	}
	return failure(name, mend, "%v", err)
}

func newDoctor(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "doctor",
		GroupID: groupService,
		Short:   "Say what is wrong, and how to mend it",
		Long:    doctorLong,
		Example: `  patrol doctor
  patrol doctor --profile work --json | jq '.checks[] | select(.status != "ok")'`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o, err := a.options(cmd)
			if err != nil {
				return err
			}
			return a.doctor(cmd.Context(), o, asJSON)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	addFlags(cmd, "host", "profile", "listen", "upstream", "anthropic-upstream", "openai-upstream", "gemini-upstream",
		"gateway", "upstream-ca", "mint-profile", "schedule", "lifetime", "write", "state-dir")
	return cmd
}

// doctor examines and prints the findings.
func (a *app) doctor(ctx context.Context, o options, asJSON bool) error {
	p, err := a.meet(ctx, o)
	if err != nil {
		return err
	}
	findings := p.examine(ctx)
	count := map[string]int{}
	for i := range findings {
		f := &findings[i]
		f.What, f.Mend = a.advise(f.What), a.advise(f.Mend)
		count[f.Status]++
	}
	if asJSON {
		enc := json.NewEncoder(a.stdout)
		enc.SetIndent("", "  ")
		enc.SetEscapeHTML(false)
		_ = enc.Encode(struct { // run reports it
			Profile string    `json:"profile"`
			Failed  int       `json:"failed"`
			Warned  int       `json:"warned"`
			Checks  []finding `json:"checks"`
		}{p.selection.name, count[gradeFail], count[gradeWarn], findings})
	} else {
		for _, f := range findings {
			mark := f.Status
			if mark == gradeFail {
				mark = "FAIL"
			}
			a.printf("%-4s  %-12s %s\n", mark, f.Name, f.What)
			if f.Mend != "" {
				a.printf("%19s→ %s\n", "", f.Mend)
			}
		}
		a.printf("%d failed, %d warned, %d ok\n", count[gradeFail], count[gradeWarn], count[gradeOK])
	}
	if count[gradeFail] > 0 {
		return &exitError{code: exitFailed}
	}
	return nil
}

// A patient is what the checks look at. What could not be had is an error that
// the checks report.
type patient struct {
	app       *app
	o         options
	selection selection
	dir       string

	profile    credwriter.Profile
	profileErr error
	target     target
	targetErr  error

	entries   []ledger.Entry
	instance  string
	ledgerErr error

	running    *controlClient // nil: none runs, or serviceErr
	status     statusReport
	serviceErr error
	others     []ping // this user's services for other profiles

	token     pat.Token // to ask the workspace with; zero if there is none
	host      string    // the workspace; "" if it isn't known
	upstreams []proxy.Upstream
}

// meet gathers what can be had without the network. Its error is one of usage,
// or says that there is no home folder.
func (a *app) meet(ctx context.Context, o options) (*patient, error) {
	p := &patient{app: a, o: o}
	home, err := a.home()
	if err != nil {
		return nil, err
	}
	p.selection, p.dir, err = a.locateKnown(o)
	if edge, ok := errors.AsType[*exitError](err); ok && edge.code == exitUsage {
		return nil, err
	}
	if err != nil { // the file can't be read: the checks say so
		p.selection.name = "DEFAULT"
		if o.profile.given() {
			p.selection.name = o.profile.value()
		}
		p.selection.file, _, _ = credwriter.Paths(a.getenv, home)
		if p.dir, err = a.stateDir(o, p.selection.name); err != nil {
			return nil, err
		}
	}
	p.profile, p.profileErr = credwriter.ReadProfile(p.selection.file, p.selection.name)
	bare := o
	bare.mintProfile = "" // a check of its own
	p.target, p.targetErr = a.resolveTarget(bare)
	p.instance, p.entries, p.ledgerErr = ledger.Read(p.dir)
	p.askService(ctx)
	p.others = a.neighbors(ctx, p.dir, dialPatience)
	p.chooseToken()
	return p, nil
}

// askService learns what the running service knows.
func (p *patient) askService(ctx context.Context) {
	running, err := dialControl(ctx, p.dir, dialPatience)
	if err != nil {
		p.serviceErr = err
		return
	}
	ctx, cancel := context.WithTimeout(ctx, doctorPatience)
	defer cancel()
	if err := running.do(ctx, http.MethodGet, "/status", nil, &p.status); err != nil {
		p.serviceErr = fmt.Errorf("asking the running service: %w", err)
		return
	}
	p.running, p.host = running, p.status.Host
	if spec := p.status.Service.Schedule; spec != "" { // an older service doesn't say
		if schedule, err := parseSchedule(spec, time.Now()); err == nil {
			p.o.schedule, p.o.cronSpec = schedule, spec
		}
	}
	var secret secretReply
	if running.do(ctx, http.MethodGet, "/token", nil, &secret) == nil {
		p.token = pat.New(secret.Token, p.host)
	}
	_ = running.do(ctx, http.MethodGet, "/upstreams", nil, &p.upstreams) // an older service has none
}

// chooseToken finds what the service could not tell.
func (p *patient) chooseToken() {
	if p.targetErr != nil {
		return
	}
	if p.host == "" {
		p.host = p.target.workspace.String()
	}
	if all, err := p.target.candidates(); err == nil && len(all) > 0 && p.running == nil {
		p.token = all[len(all)-1].Token // the profile's, if it has one
	}
	if len(p.upstreams) == 0 {
		cfg, host := p.o.proxy.config(), p.target.workspace
		host.Workspace = "" // a path is put behind these URLs
		cfg.Host = host.String()
		p.upstreams, _ = cfg.Upstreams()
	}
}

// examine makes all checks at once, and returns their findings in order.
func (p *patient) examine(ctx context.Context) []finding {
	checks := []func(context.Context, *patient) []finding{
		checkService, checkUnit, checkSocket, checkState, checkPorts,
		checkEnvironment, checkAgentEnv, checkProfile, checkDefaultProfile, checkFiles, checkSchedule,
		checkToken, checkWorkspace, checkMinter, checkUpstreams,
	}
	found := make([][]finding, len(checks))
	var all sync.WaitGroup
	for i, check := range checks {
		all.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, doctorPatience)
			defer cancel()
			found[i] = check(ctx, p)
		})
	}
	all.Wait()
	var flat []finding
	for _, f := range found {
		flat = append(flat, f...)
	}
	return flat
}
