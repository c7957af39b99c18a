package rotator

import "time"

// Status is what a Rotator is doing, for people and, as JSON, for programs.
// There is no token's value in it.
type Status struct {
	Host     string `json:"host"`
	Instance string `json:"instance"`
	Ready    bool   `json:"ready"`
	Problem  string `json:"problem,omitempty"` // what is wrong, and what to do

	Token    TokenStatus      `json:"token"`
	Next     time.Time        `json:"next_rotation,omitzero"` // by the schedule
	Deadline time.Time        `json:"deadline,omitzero"`      // rotates by then whatever the schedule says
	Last     RotationStatus   `json:"last_rotation"`
	Files    []FileStatus     `json:"files"`
	Retiring []RetiringStatus `json:"retiring"`

	// Ledger is why the ledger can't be written: what is to be revoked is
	// known to this process alone. "" while it can.
	Ledger string `json:"ledger_error,omitempty"`
}

// TokenStatus describes a token.
type TokenStatus struct {
	ID      string    `json:"id,omitempty"`
	Comment string    `json:"comment,omitempty"`
	Ours    bool      `json:"minted_by_patrol"`
	Created time.Time `json:"created,omitzero"`
	Expires time.Time `json:"expires,omitzero"`
}

// RotationStatus is how the last rotation went.
type RotationStatus struct {
	Reason string    `json:"reason,omitempty"`
	Began  time.Time `json:"began,omitzero"`
	Error  string    `json:"error,omitempty"`
}

// FileStatus is how the last write of a credential file went.
type FileStatus struct {
	Name  string   `json:"name"`
	Path  string   `json:"path"`
	Error string   `json:"error,omitempty"`
	Left  []string `json:"left_alone,omitempty"`

	// Written is when the file was last known to hold what it should; zero if
	// it was not written since the start.
	Written time.Time `json:"written,omitzero"`
}

// RetiringStatus is an old token that is still to be revoked.
type RetiringStatus struct {
	ID      string    `json:"id,omitempty"`
	Expires time.Time `json:"expires,omitzero"`
	Waits   string    `json:"waits_for,omitempty"`
	Error   string    `json:"error,omitempty"` // why it couldn't be revoked so far
}

// Status returns a snapshot.
func (r *Rotator) Status() Status {
	files, unwritten := r.files.states(), r.cfg.Ledger.Err()
	r.mu.Lock()
	defer r.mu.Unlock()
	h := r.holding
	s := Status{
		Host:     r.host().String(),
		Instance: r.cfg.Ledger.Instance(),
		Ready:    r.problem == nil,
		Next:     r.next,
		Last:     RotationStatus{Reason: r.last.Reason, Began: r.last.Began, Error: text(r.lastErr)},
		Problem:  text(r.problem),
		Retiring: []RetiringStatus{},
		Ledger:   text(unwritten),
	}
	if !h.token.IsZero() {
		s.Token = TokenStatus{ID: h.token.ID, Comment: h.token.Comment, Ours: h.entry.Ours(), Created: h.token.Created, Expires: h.token.Expiry}
		s.Deadline = r.deadline(h)
	}
	for _, f := range files {
		s.Files = append(s.Files, FileStatus{Name: f.Name, Path: f.Path, Error: text(f.Err), Left: f.Left, Written: f.Written})
	}
	for _, a := range r.queue {
		s.Retiring = append(s.Retiring, RetiringStatus{ID: a.entry.ID, Expires: a.entry.Expiry, Waits: r.waitsFor(a), Error: a.failed})
	}
	return s
}

// waitsFor says what a token in the queue waits for before it is revoked, "" if
// that has been tried and failed.
func (r *Rotator) waitsFor(a *aged) string {
	switch {
	case a.failed != "":
		return ""
	case a.quiet.IsZero():
		return "requests that carry it"
	}
	return "the grace, until " + a.quiet.Add(r.cfg.Grace).Round(0).UTC().Format(time.RFC3339)
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
