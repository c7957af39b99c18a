// Package doctor looks for what keeps patrol, or the tools that it signs in, from
// working, and says how to mend it. It changes nothing, and works with no service,
// no network and no token.
package doctor

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"patrol/cmd/patrol/internal/cli"
)

// patience is what each check may take.
const patience = 5 * time.Second

// The grades of a finding.
const (
	gradeOK   = "ok"
	gradeWarn = "warn"
	gradeFail = "fail"
)

// A Finding is what one check has found.
type Finding struct {
	Name   string `json:"name"`
	Status string `json:"status"` // a grade
	What   string `json:"what"`
	Fix    string `json:"mend,omitempty"` // what to do; "" if nothing is
}

// A Report is all that was found.
type Report struct {
	Profile string    `json:"profile"`
	Failed  int       `json:"failed"`
	Warned  int       `json:"warned"`
	Checks  []Finding `json:"checks"`
}

// A check looks at one subject.
type check struct {
	name string
	make func(context.Context, *input, *findings)
}

// checks are made all at once; their findings are reported in this order, and
// those of the upstreams after them.
var checks = []check{
	{"service", checkService},
	{"unit", checkUnits},
	{"state", checkState},
	{"port", checkPorts},
	{"environment", checkEnvironment},
	{"agents", checkAgents},
	{"profile", checkProfile},
	{"default", checkDefaultProfile},
	{"files", checkFiles},
	{"token", checkToken},
	{"workspace", checkWorkspace},
	{"mint-profile", checkMinter},
}

// Run makes all checks. Its error is one of usage, or says that there is no home
// folder.
func Run(ctx context.Context, o cli.Options) (Report, error) {
	in, err := gather(ctx, o)
	if err != nil {
		return Report{}, err
	}
	if in.client != nil {
		defer in.client.Close()
	}
	all := slices.Concat(checks, in.upstreamChecks())
	found := make([]findings, len(all))
	var work sync.WaitGroup
	for i, check := range all {
		found[i].name = check.name
		work.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, patience)
			defer cancel()
			check.make(ctx, in, &found[i])
		})
	}
	work.Wait()
	report, graded := Report{Profile: in.profile.Name}, map[string]int{}
	for _, of := range found {
		for _, f := range of.list {
			graded[f.Status]++
			f.What, f.Fix = o.Advise(f.What), o.Advise(f.Fix)
			report.Checks = append(report.Checks, f)
		}
	}
	report.Failed, report.Warned = graded[gradeFail], graded[gradeWarn]
	return report, nil
}

// Print prints the report for people.
func (r Report) Print(s cli.Streams) {
	for _, f := range r.Checks {
		mark := f.Status
		if mark == gradeFail {
			mark = "FAIL"
		}
		s.Printf("%-4s  %-12s %s\n", mark, f.Name, f.What)
		if f.Fix != "" {
			s.Printf("%19s→ %s\n", "", f.Fix)
		}
	}
	s.Printf("%d failed, %d warned, %d ok\n", r.Failed, r.Warned, len(r.Checks)-r.Failed-r.Warned)
}

// findings is what one check finds, in its order.
type findings struct {
	name string // of what is found next
	list []Finding
}

func (f *findings) add(grade, fix, format string, args ...any) {
	f.list = append(f.list, Finding{Name: f.name, Status: grade, What: fmt.Sprintf(format, args...), Fix: fix})
}

func (f *findings) ok(format string, args ...any)        { f.add(gradeOK, "", format, args...) }
func (f *findings) warn(fix, format string, args ...any) { f.add(gradeWarn, fix, format, args...) }
func (f *findings) fail(fix, format string, args ...any) { f.add(gradeFail, fix, format, args...) }

// err makes a finding of an error, with the hint that it has.
func (f *findings) err(err error) { f.fail(cli.HintOf(err), "%v", err) }
