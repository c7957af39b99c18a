package rotator

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"patrol/credwriter"
	"patrol/rotator/ledger"
	"patrol/rotator/pat"
	"patrol/rotator/workspace"
	"patrol/rotator/workspacetest"
)

const testHost = "https://w.example"

// newRotator returns a Rotator that has found no token, and its workspace.
func newRotator(t *testing.T) (*Rotator, *workspacetest.Workspace) {
	t.Helper()
	ws := workspacetest.New(workspacetest.Config{})
	c, err := workspace.New(workspace.Config{Host: testHost, Transport: ws.Transport()})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	l, err := ledger.Open(ledger.Config{Dir: filepath.Join(dir, "state")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	r, err := New(Config{
		Workspace:  c,
		Ledger:     l,
		Profile:    credwriter.NewDatabrickscfg(filepath.Join(dir, "databrickscfg"), "DEFAULT", credwriter.Owner{Host: c.Host()}),
		Candidates: func() ([]Candidate, error) { return nil, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	return r, ws
}

// TestTokenComesBeforeRotation: a rotation begins where there is no token, and one comes
// into use before it chooses who mints. It begins again, and mints nothing with none.
func TestTokenComesBeforeRotation(t *testing.T) {
	r, ws := newRotator(t)
	defer r.Close()
	o := &rotation{Rotator: r}
	found := ws.Issue(workspacetest.IssueOptions{})
	c := newCredential(pat.New(found.Value, testHost), ledger.Entry{Nonce: "found", Found: []string{"profile"}}, time.Hour)
	if _, _, err := r.chain.Use(c, nil); err != nil {
		t.Fatal(err)
	}
	if err := o.takeSteps(t.Context()); !errors.Is(err, errReplaced) {
		t.Errorf("takeSteps = %v, want %v", err, errReplaced)
	}
	if n := len(ws.Tokens()); n != 1 {
		t.Errorf("%d tokens were minted", n-1)
	}
}

// TestCloseEndsRun: Close returns and ends Run, also if Run's own context isn't done.
func TestCloseEndsRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _ := newRotator(t)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		ran, closed := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(ran)
			_ = r.Run(ctx)
		}()
		synctest.Wait()
		go func() {
			defer close(closed)
			r.Close()
		}()
		for name, done := range map[string]chan struct{}{"Close": closed, "Run": ran} {
			select {
			case <-done:
			case <-time.After(15 * time.Second):
				t.Fatalf("%s hangs", name)
			}
		}
	})
}

func TestPlanNext(t *testing.T) {
	const life, expires = 4 * time.Hour, "the token is about to expire"
	base := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	ours := credential{Since: base, Lifetime: life, Entry: ledger.Entry{Nonce: "n", Info: pat.Info{Created: base, Expiry: base.Add(life)}}}
	found, minted, short := ours, ours, ours
	found.Entry.Found = []string{"profile"}
	minted.Minted = base
	short.Minted, short.Lifetime, short.Entry.Expiry = base, time.Minute, base.Add(time.Minute)
	for name, test := range map[string]struct {
		plan      plan
		now, mono time.Duration // since the token was made
		wait      time.Duration
		reason    string
	}{
		"an eighth of the life before expiry": {plan{Credential: ours}, 0, 0, 210 * time.Minute, expires},
		"due by deadline":                     {plan{Credential: ours}, 210 * time.Minute, 210 * time.Minute, 0, expires},
		"due by the wall clock":               {plan{Credential: ours}, 5 * time.Hour, 0, 0, expires},
		"due by the monotonic clock":          {plan{Credential: ours}, 0, 5 * time.Hour, 0, expires},
		"the workspace's clock is ahead":      {plan{Credential: ours, Skew: skew{Ahead: time.Hour, Known: true}}, 0, 0, 150 * time.Minute, expires},
		"tick to come":                        {plan{Credential: ours, Tick: base.Add(time.Hour)}, 0, 0, time.Hour, "schedule"},
		"due by tick":                         {plan{Credential: ours, Tick: base.Add(time.Hour)}, time.Hour, time.Hour, 0, "schedule"},
		"tick after deadline":                 {plan{Credential: ours, Tick: base.Add(life)}, 0, 0, 210 * time.Minute, expires},
		"tick before, deadline is over":       {plan{Credential: ours, Tick: base.Add(time.Hour)}, life, life, 0, expires},
		"wanted":                              {plan{Credential: ours, Wanted: "asked"}, 0, 0, 0, "asked"},
		"wanted, deadline is over":            {plan{Credential: ours, Wanted: "asked"}, life, life, 0, expires},
		"not ours":                            {plan{Credential: found}, 0, 0, 0, "the token is not patrol's own"},
		"impossible expiry":                   {plan{Credential: ours}, -time.Hour, time.Minute, time.Minute, "its expiry can't be right: the clock was set"},
		"impossible expiry for two minutes":   {plan{Credential: ours}, -time.Hour, 2 * time.Minute, 0, "its expiry can't be right: the clock was set"},
		"expiry a minute too late":            {plan{Credential: ours}, -time.Minute, 0, 210 * time.Minute, expires},
		"not before":                          {plan{Credential: ours, Wanted: "asked", NotBefore: base.Add(time.Hour)}, 0, 20 * time.Minute, 40 * time.Minute, "asked"},
		"not before is over":                  {plan{Credential: ours, Wanted: "asked", NotBefore: base.Add(time.Hour)}, 0, time.Hour, 0, "asked"},
		"just minted, and wanted":             {plan{Credential: minted, Wanted: "asked"}, time.Minute, time.Minute, 0, "asked"},
		"just minted, and a tick":             {plan{Credential: minted, Tick: base.Add(time.Second)}, 2 * time.Second, 2 * time.Second, 0, "schedule"},
		"just minted, expired by the clock":   {plan{Credential: minted}, 365 * 24 * time.Hour, 0, 2 * time.Minute, expires},
		"just minted, and short-lived":        {plan{Credential: short}, time.Hour, 0, 30 * time.Second, expires},
	} {
		wait, reason := test.plan.Next(base.Add(test.now), base.Add(test.mono))
		if wait != test.wait || reason != test.reason {
			t.Errorf("%s: Next = %v, %q, want %v, %q", name, wait, reason, test.wait, test.reason)
		}
	}
}

// askedToWait is the error of a call after which the workspace wants to be left alone.
func askedToWait(t *testing.T, pause time.Duration) error {
	t.Helper()
	ws := workspacetest.New(workspacetest.Config{})
	c, err := workspace.New(workspace.Config{Host: testHost, Transport: ws.Transport()})
	if err != nil {
		t.Fatal(err)
	}
	ws.Inject(workspacetest.Fault{
		Effect: workspacetest.Answer, Status: http.StatusTooManyRequests, Times: workspacetest.Always, Body: "{}",
		Header: http.Header{"Retry-After": {strconv.Itoa(int(pause / time.Second))}},
	})
	tok := ws.Issue(workspacetest.IssueOptions{})
	_, _, err = c.As(pat.New(tok.Value, testHost)).Mint(t.Context(), workspace.MintRequest{Lifetime: time.Hour})
	if got := workspace.RetryAfter(err); got != pause {
		t.Fatalf("RetryAfter = %v, want %v: %v", got, pause, err)
	}
	return fmt.Errorf("minting: %w", err)
}

func TestPauseAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // calls may be tried again after pauses
		const day, over = 24 * time.Hour, -time.Second // what is left
		failed := errors.New("it failed")
		asked10, asked120 := askedToWait(t, 10*time.Minute), askedToWait(t, 2*time.Hour)
		unreachable := fmt.Errorf("minting: %w", workspace.ErrUnreachable)
		preflight := fmt.Errorf("rotating: %w", errPreflight)
		for name, test := range map[string]struct {
			failures int
			err      error
			left     time.Duration
			want     time.Duration
		}{
			"first":                         {1, failed, day, 10 * time.Second},
			"second":                        {2, failed, day, 30 * time.Second},
			"fourth":                        {4, failed, day, 270 * time.Second},
			"many":                          {1_000_000, failed, day, 5 * time.Minute},
			"expired, first":                {1, failed, over, 2 * time.Minute},
			"expired, second":               {2, failed, over, 15 * time.Minute},
			"expired, many":                 {1_000_000, failed, over, 15 * time.Minute},
			"asked to wait":                 {1, asked10, day, 10 * time.Minute},
			"asked for too long":            {1, asked120, day, 15 * time.Minute},
			"asked, 20 minutes are left":    {1, asked10, 20 * time.Minute, 5 * time.Minute},
			"asked, and expired":            {1, asked10, over, 10 * time.Minute},
			"asked for too long, expired":   {1, asked120, over, 15 * time.Minute},
			"unreachable, first":            {1, unreachable, day, 10 * time.Second},
			"unreachable, many":             {9, unreachable, day, 30 * time.Second},
			"unreachable, and expired":      {9, unreachable, over, 30 * time.Second},
			"a file is to be mended, first": {1, preflight, day, 10 * time.Second},
			"a file is to be mended, many":  {9, preflight, day, 30 * time.Second},
		} {
			if got := pauseAfter(test.failures, test.err, test.left); got != test.want {
				t.Errorf("%s: pauseAfter = %v, want %v", name, got, test.want)
			}
		}
	})
}

// TestPauses: a list without an answer is everybody's affair, any other failure is its
// own; what a person does ends all pauses, and makes the next ones no shorter.
func TestPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		left := time.Hour
		s := &pauses{of: map[string]pause{}, lifeLeft: func() time.Duration { return left }}
		failed := errors.New("no answer")
		want := func(when, what string, alone, withList time.Duration) {
			t.Helper()
			about := func(got, least time.Duration) bool { return got >= least && got <= least+least/5 } // jitter
			if a, l := s.Wait(what), s.WaitForList(what); !about(a, alone) || !about(l, withList) {
				t.Errorf("%s: %q waits for %v, and for %v with a list, want %v and %v", when, what, a, l, alone, withList)
			}
		}
		want("at first", openMints, 0, 0)
		s.Failed(openMints, failed)
		want("after a failure", openMints, 10*time.Second, 10*time.Second)
		want("after another's failure", pasted, 0, 0)
		s.Listed(failed)
		s.Listed(failed) // which was begun before the first one failed
		want("after a list without an answer", pasted, 0, 10*time.Second)
		if !errors.Is(s.WhyNotAsked(), failed) {
			t.Errorf("WhyNotAsked = %v", s.WhyNotAsked())
		}
		time.Sleep(time.Minute)
		want("a minute later", pasted, 0, 0)
		s.Listed(failed)
		want("after the second list", pasted, 0, 30*time.Second)
		s.EndPauses()
		want("after a person's wish", pasted, 0, 0)
		left = -time.Second
		s.Listed(failed)
		want("after expiry", pasted, 0, 15*time.Minute)
		s.Listed(workspace.ErrInvalidToken)
		want("after an answer", pasted, 0, 0)
		s.Postpone(pasted, time.Hour)
		s.Postpone(pasted, time.Minute)
		want("put off", pasted, time.Hour, time.Hour)
		s.Forget(pasted)
		want("forgotten", pasted, 0, 0)
	})
}

func TestRevokingToken(t *testing.T) {
	base := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	named := func(name, user string, age int) credential {
		tok := pat.New(name, testHost)
		tok.ID = name
		return credential{Token: tok, Entry: ledger.Entry{
			Nonce: name, User: user, Host: tok.Host, Info: pat.Info{ID: name, Created: base.Add(-time.Duration(age) * time.Hour)},
		}}
	}
	withValue := func(c credential) retiree { return retiree{Entry: c.Entry, Token: c.Token} }
	withoutValue := func(c credential) retiree { return retiree{Entry: c.Entry} }
	current := named("current", "a", 0)
	sameUsers := named("same user's", "a", 1)
	newer, older := named("newer", "b", 2), named("older", "b", 3)
	ready := state{Phase: phaseReady, Current: current}
	dead := state{Phase: phaseDead, Current: current, Err: errors.New("it is dead")}
	out := state{Phase: phaseLoggedOut, Err: errors.New("logged out")}
	outWithLast := state{Phase: phaseLoggedOut, Spares: []credential{current}, Err: out.Err}
	outWithTwo := state{Phase: phaseLoggedOut, Spares: []credential{current, newer}, Err: out.Err}
	for name, test := range map[string]struct {
		state state
		queue []retiree
		of    credential // which is to be revoked
		want  pat.Token
		err   error
	}{
		"same user":                          {ready, []retiree{withValue(sameUsers)}, sameUsers, current.Token, nil},
		"other user, older one":              {ready, []retiree{withValue(newer), withValue(older)}, older, newer.Token, nil},
		"other user, newest one":             {ready, []retiree{withValue(older), withValue(newer)}, newer, pat.Token{}, errOthersFirst},
		"other user, last one":               {ready, []retiree{withValue(newer), withValue(sameUsers)}, newer, newer.Token, nil},
		"other user, no value":               {ready, []retiree{withoutValue(newer)}, newer, current.Token, nil},
		"dead":                               {dead, []retiree{withValue(sameUsers)}, sameUsers, pat.Token{}, dead.Err},
		"logged out, nothing is known":       {out, []retiree{withoutValue(sameUsers)}, sameUsers, pat.Token{}, out.Err},
		"logged out, an old one":             {outWithLast, []retiree{withoutValue(sameUsers), withoutValue(current)}, sameUsers, current.Token, nil},
		"logged out, the last one":           {outWithLast, []retiree{withoutValue(current)}, current, current.Token, nil},
		"logged out, others first":           {outWithLast, []retiree{withoutValue(current), withoutValue(newer)}, current, pat.Token{}, errOthersFirst},
		"logged out, a spare of its user":    {outWithTwo, []retiree{withoutValue(older)}, older, newer.Token, nil},
		"logged out, others of its user":     {outWithLast, []retiree{withValue(current), withoutValue(sameUsers)}, current, pat.Token{}, errOthersFirst},
		"logged out, the other user's value": {outWithLast, []retiree{withValue(newer), withoutValue(older)}, older, newer.Token, nil},
	} {
		got, err := revokingToken(test.state, test.queue, test.of.Entry)
		if !errors.Is(err, test.err) || got.Expose() != test.want.Expose() {
			t.Errorf("%s: revokingToken = %q, %v, want %q, %v", name, got.Expose(), err, test.want.Expose(), test.err)
		}
	}
}

// TestDrainOfLateUse: a token comes out of the queue, into use, and into the queue again. The
// end of its first use is not that of its second one.
func TestDrainOfLateUse(t *testing.T) {
	r, ws := newRotator(t)
	defer r.Close()
	tok := ws.Issue(workspacetest.IssueOptions{})
	c := newCredential(pat.New(tok.Value, testHost), ledger.Entry{Nonce: "n"}, time.Hour)
	first, second := make(chan struct{}), make(chan struct{})
	drained := func() bool {
		old, _ := r.queue.Find("n")
		return !old.Drained.IsZero()
	}
	r.queue.Add(c, first)
	if err := r.queue.TakeBack(t.Context(), "n"); err != nil || r.queue.Has("n") {
		t.Fatal("it wasn't taken back", err)
	}
	r.queue.Add(c, second)
	<-r.queue.wake
	close(first)
	<-r.queue.wake
	if drained() {
		t.Error("requests carry it still")
	}
	close(second)
	<-r.queue.wake
	if !drained() {
		t.Error("no request carries it")
	}
}
