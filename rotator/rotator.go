// Package rotator decides when a token is replaced, takes the steps of a
// rotation in the order that no crash can turn into a loss, and revokes the
// tokens that were replaced once nobody can still be using them.
//
// A rotation mints, probes, publishes to the proxy, writes the credential
// files, and hands the old token to a queue. The queue waits until the old
// token's requests have drained and the grace is over, makes sure that no
// file holds it, and revokes it. Each step is recorded in the ledger before
// the next is begun, so that a start after a crash finishes or undoes it.
//
// Each fact that changes has one owner: the chain has the token in use, the
// queue the old ones, rotations the one rotation that may run, files the
// credential files. The Rotator wires them.
package rotator

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/robfig/cron/v3"

	"patrol/rotator/ledger"
	"patrol/rotator/pat"
	"patrol/rotator/workspace"
)

// ErrNeedsLogin is wrapped by every error that a new token from a person would
// mend: there is no token, or the workspace takes none of those that there are.
var ErrNeedsLogin = errors.New("no working Databricks token")

// errClosed is what Rotate returns after Close.
var errClosed = errors.New("patrol is stopping")

// File is a credential file that a rotation writes.
type File interface {
	// Name is the file's short name, as --write takes it.
	Name() string
	Path() string

	// Check reports why the file can't be replaced now; it changes nothing.
	Check() error

	// Write puts t in place of every token in the file that is ours to
	// replace. It returns in words what it left alone, and why. Of a profile's
	// token mayReplace says by its pat.Hash whether it may be replaced: if not,
	// nothing is written, and the error is pat.ErrForeign. A nil mayReplace
	// allows any.
	Write(t pat.Token, mayReplace func(hash string) bool) (left []string, err error)

	// Holds reports whether the file holds a token whose pat.Hash is hash.
	Holds(hash string) (bool, error)

	// Clear takes the tokens out of the file that gone knows by their
	// pat.Hash. It reports whether there was one where Write puts them, and
	// in words what it left alone.
	Clear(gone func(hash string) bool) (cleared bool, left []string, err error)
}

// Candidate is a token that was found on this machine.
type Candidate struct {
	// Source names the place for users: "profile DEFAULT in ~/.databrickscfg".
	Source string

	// Rewritten says that patrol writes new tokens to that place, so that the
	// token need not live on there. An environment variable is no such place.
	Rewritten bool

	Token pat.Token
}

// Config says what a Rotator works with and when. Workspace, Ledger, Profile
// and Candidates must be set.
type Config struct {
	Workspace *workspace.Client
	Ledger    *ledger.Ledger

	// MintAs mints when the current token can't any more. Nil: nothing can.
	MintAs *workspace.Session

	// Handovers is where new tokens are published. A Handover of the zero
	// Token says that there is none. Nil: no proxy runs in this process.
	Handovers chan<- pat.Handover

	// Profile is the profile in .databrickscfg: the file without which
	// nothing is minted. Agents are the others; one that is broken holds
	// nothing back for long.
	Profile File
	Agents  []File

	// Candidates returns the tokens that this machine holds for the
	// workspace, as it finds them at each call.
	Candidates func() ([]Candidate, error)

	// Schedule says when to rotate. Nil: only before a token expires.
	Schedule cron.Schedule

	Lifetime time.Duration // of the tokens that are minted; 0 is 4 hours
	Grace    time.Duration // between the last use of a token and its revocation

	// KeepBootstrap leaves the tokens alone that patrol did not mint.
	KeepBootstrap bool

	// Now is the wall clock; nil is time.Now.
	Now func() time.Time

	Log *slog.Logger // nil discards
}

// Rotator keeps one workspace token fresh. Start, Run and Rotate may be used
// alone (one-shot commands: Start, Rotate) or together (the service).
type Rotator struct {
	cfg Config

	chain     *chain     // the token in use
	queue     *queue     // old tokens
	files     *files     // the credential files
	authority *authority // the workspace's side
	rotations rotations  // one at a time
	schedule  schedule   // when the next one is
	discovery discovery  // tokens that turn up on this machine
	refusals  refusals   // requests that were refused
	work      *background
}

// background is the goroutines that a Rotator has started. Its context outlives
// that of whoever asked for something, so that what is under way isn't left half
// done; Close ends it.
type background struct {
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// Go runs f until it returns; ctx is done once Close is called.
func (b *background) Go(f func(ctx context.Context)) { b.wg.Go(func() { f(b.ctx) }) }

// withDefaults checks a Config and fills in what isn't set.
func (cfg Config) withDefaults() (Config, error) {
	if cfg.Workspace == nil || cfg.Ledger == nil || cfg.Profile == nil || cfg.Candidates == nil {
		return cfg, errors.New("rotator.Config needs Workspace, Ledger, Profile and Candidates")
	}
	cfg.Lifetime = cmp.Or(cfg.Lifetime, 4*time.Hour)
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return cfg, nil
}

// New returns a Rotator that does nothing until Start, Run or Rotate is
// called. It must be closed.
func New(cfg Config) (*Rotator, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	r := &Rotator{cfg: cfg, work: new(background)}
	r.work.ctx, r.work.cancel = context.WithCancel(context.Background())
	r.schedule.wake = make(chan struct{}, 1)
	r.chain = &chain{host: r.host(), handovers: cfg.Handovers, ctx: r.work.ctx, skew: r.skew, died: func() { wake(r.schedule.wake) }, log: cfg.Log}
	r.chain.state.Err = errors.New("patrol is only starting: it is still looking for its token; ask again in a moment")
	if out, _ := cfg.Ledger.LoggedOut(); out {
		r.chain.state.Phase = phaseLoggedOut
	}
	r.schedule.pauses = pauses{lifeLeft: r.lifeLeft, of: map[string]pause{}}
	r.queue = &queue{
		grace: cfg.Grace, log: cfg.Log, work: r.work, pauses: &r.schedule.pauses, record: r.record,
		wake: make(chan struct{}, 1), ending: make(chan struct{}, 1),
	}
	r.files = newFiles(cfg.Profile, cfg.Agents, func() credential { return r.chain.State().InUse() }, cfg.Log)
	r.authority = &authority{workspace: cfg.Workspace, ledger: cfg.Ledger, pauses: &r.schedule.pauses, log: cfg.Log}
	return r, nil
}

// Close waits up to 10 seconds for a rotation that is under way, ends
// everything else and leaves what is still to be revoked in the ledger.
func (r *Rotator) Close() {
	const patience = 10 * time.Second
	if o, _ := r.rotations.Refuse(errClosed); o != nil {
		select {
		case <-o.done:
		case <-time.After(patience):
		}
	}
	r.work.cancel()
	r.work.wg.Wait()
}

// Current returns the token in use, the zero Token if there is none that
// works.
func (r *Rotator) Current() pat.Token { return r.chain.State().InUse().Token }

// Ready returns nil while there is a token that works; otherwise an error for
// users, which says what is wrong and what to do about it.
func (r *Rotator) Ready() error { return r.chain.State().Err }

// now is the wall time without a monotonic reading, which stops while a
// laptop sleeps.
func (r *Rotator) now() time.Time { return r.cfg.Now().Round(0) }

// skew is by how much the workspace's clock is ahead of this machine's. Less than 90
// seconds count as none: an answer may have been that long on its way.
func (r *Rotator) skew() skew {
	const least = 90 * time.Second
	at, known := r.cfg.Workspace.Time()
	ahead := at.Sub(r.now())
	if !known || ahead.Abs() < least {
		ahead = 0
	}
	return skew{Ahead: ahead, Known: known}
}

// wakeAll has the schedule and the queue look again.
func (r *Rotator) wakeAll() {
	wake(r.schedule.wake)
	r.queue.Wake()
}

// wake makes the receiver of ch look again; it never blocks.
func wake(ch chan<- struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// sleep waits until something changes or the time is up; it reports false if
// ctx is done.
func sleep(ctx context.Context, change <-chan struct{}, atMost time.Duration) bool {
	timer := time.NewTimer(max(atMost, 0))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-change:
	case <-ctx.Done():
	}
	return ctx.Err() == nil
}

// host is the workspace's.
func (r *Rotator) host() pat.Host { return r.cfg.Workspace.Host() }

// record puts e into the ledger. If that fails the step goes on: the ledger says so,
// keeps e in memory and Run has it written later. If patrol crashes before that, the
// nonce in the token's comment is what it is found by.
func (r *Rotator) record(e ledger.Entry) { _ = r.cfg.Ledger.Put(e) }
