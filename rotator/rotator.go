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
// One rotation runs at a time; whoever asks for one during it joins it.
package rotator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/robfig/cron/v3"

	"patrol/rotator/ledger"
	"patrol/rotator/pat"
	"patrol/rotator/workspace"
)

// ErrNeedsLogin is wrapped by every error that a new bootstrap token would
// mend: there is no token, or none that the workspace takes.
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
	// replace. It returns in words what it left alone, and why.
	Write(t pat.Token) (left []string, err error)

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

// DefaultLifetime is how long a token lives that is minted without a word on
// it.
const DefaultLifetime = 4 * time.Hour

// Rotator keeps one workspace token fresh. Start, Run and Rotate may be used
// alone (one-shot commands: Start, Rotate) or together (the service).
type Rotator struct {
	cfg   Config
	log   *slog.Logger
	files *files

	// ctx outlives the context of whoever asked for a rotation, so that one
	// that is under way isn't left half done; Close ends it.
	ctx    context.Context
	cancel context.CancelFunc
	work   sync.WaitGroup // every goroutine that the Rotator has started
	kick   chan struct{}  // something has changed that the schedule hangs on
	tend   chan struct{}  // something has changed in the queue or the files

	running atomic.Bool // Run is at work
	blank   bool        // the ledger was empty at the start
	mayList atomic.Bool // the workspace has listed its tokens for us
	glance  atomic.Bool // the profile is to be looked at now: see Look

	taking sync.Mutex // held while a token that was found is taken, and by Logout

	turn sync.Mutex // of who changes what the proxy has, and with it holding

	mu      sync.Mutex
	closed  bool
	holding holding  // the token in use
	before  holding  // the one before it
	problem error    // why there is no token that works; nil if there is one
	flight  *flight  // the rotation under way
	minting string   // the nonce of the last mint that was begun
	queue   []*aged  // old tokens, to be revoked
	last    Rotation // the last one that was begun
	lastErr error    // how it ended
	next    time.Time
	probing *probe
	minted  time.Time // when the mint profile last minted
	adopted time.Time // when a token that can't be told apart last was
	warned  string    // what warnOnce last warned about
	leaving bool      // Logout is at work
	out     bool      // the user has logged out: see barred
	parting pat.Token // after a Logout: the last token, where it still has to be revoked
}

// holding is a token in use, and what its clock is.
type holding struct {
	token pat.Token
	entry ledger.Entry
	since time.Time // with its monotonic reading
}

// New returns a Rotator that does nothing until Start, Run or Rotate is
// called. It must be closed.
func New(cfg Config) (*Rotator, error) {
	switch {
	case cfg.Workspace == nil, cfg.Ledger == nil, cfg.Profile == nil, cfg.Candidates == nil:
		return nil, errors.New("rotator.Config needs Workspace, Ledger, Profile and Candidates")
	case cfg.Lifetime < 0, cfg.Grace < 0:
		return nil, fmt.Errorf("lifetime %v and grace %v must not be negative", cfg.Lifetime, cfg.Grace)
	}
	if cfg.Lifetime == 0 {
		cfg.Lifetime = DefaultLifetime
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	r := &Rotator{
		cfg:   cfg,
		log:   cfg.Log,
		files: newFiles(cfg.Profile, cfg.Agents, cfg.Log),
		kick:  make(chan struct{}, 1),
		tend:  make(chan struct{}, 1),
	}
	r.problem = errors.New("patrol is only starting: it is still looking for its token; ask again in a moment")
	r.out, _ = cfg.Ledger.LoggedOut()
	r.blank = len(cfg.Ledger.Pending()) == 0
	r.ctx, r.cancel = context.WithCancel(context.Background())
	return r, nil
}

// Close waits up to 10 seconds for a rotation that is under way, ends
// everything else and leaves what is still to be revoked in the ledger.
func (r *Rotator) Close() {
	r.mu.Lock()
	r.closed = true
	f := r.flight
	r.mu.Unlock()
	if f != nil {
		const patience = 10 * time.Second
		select {
		case <-f.done:
		case <-time.After(patience):
		}
	}
	r.cancel()
	r.work.Wait()
}

// Current returns the token in use, the zero Token if there is none that
// works.
func (r *Rotator) Current() pat.Token {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.problem != nil {
		return pat.Token{}
	}
	return r.holding.token
}

// Ready returns nil while there is a token that works; otherwise an error for
// users, which says what is wrong and what to do about it.
func (r *Rotator) Ready() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.problem
}

// Look has Run look at the files now, and not only when it would by itself: at the
// profile every 30 seconds (2 while there is no token), at the others every 5
// minutes. It doesn't block.
func (r *Rotator) Look() {
	r.glance.Store(true)
	wake(r.kick)
}

// now is the wall time without a monotonic reading, which stops while a
// laptop sleeps.
func (r *Rotator) now() time.Time { return r.cfg.Now().Round(0) }

// wake makes the receiver of ch look again; it never blocks.
func wake(ch chan<- struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// host is the workspace, for messages.
func (r *Rotator) host() pat.Host { return r.cfg.Workspace.Host() }

// record puts e into the ledger. Where that fails the step goes on: the
// ledger remembers e in memory, runTend has it written later, and a crash
// before that is what the nonce in the comment is for.
func (r *Rotator) record(e ledger.Entry) {
	if err := r.cfg.Ledger.Put(e); err != nil {
		r.log.Error("the ledger can't be written: will be tried again", "stage", e.Stage, "err", err)
	}
}
