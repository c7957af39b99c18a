package rotator

import (
	"time"

	"patrol/rotator/ledger"
)

// Status is what a Rotator is doing, for people and, as JSON, for programs.
// There is no token's value in it.
type Status struct {
	Host     string `json:"host"`
	Instance string `json:"instance"`
	Ready    bool   `json:"ready"`
	Problem  string `json:"problem,omitempty"` // what is wrong, and what to do

	Token    TokenInfo      `json:"token"`
	Next     time.Time      `json:"next_rotation,omitzero"` // by the schedule
	Deadline time.Time      `json:"deadline,omitzero"`      // rotates by then whatever the schedule says
	Last     RotationStatus `json:"last_rotation"`
	Files    []FileInfo     `json:"files"`
	Retiring []RetiringInfo `json:"retiring"`

	// Ledger is why the ledger can't be written: what is to be revoked is
	// known to this process alone. "" while it can.
	Ledger string `json:"ledger_error,omitempty"`
}

// TokenInfo describes a token.
type TokenInfo struct {
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

// RetiringInfo is an old token that is still to be revoked.
type RetiringInfo struct {
	ID      string    `json:"id,omitempty"`
	Expires time.Time `json:"expires,omitzero"`
	Waits   string    `json:"waits_for,omitempty"`
	Error   string    `json:"error,omitempty"` // why it couldn't be revoked so far
}

// DescribeToken returns what a ledger knows of a token.
func DescribeToken(e ledger.Entry) TokenInfo {
	return TokenInfo{ID: e.ID, Comment: e.Comment, Ours: e.Ours(), Created: e.Created, Expires: e.Expiry}
}

// Status returns a snapshot. It doesn't block.
func (r *Rotator) Status() Status {
	chain := r.chain.State()
	last, lastErr := r.rotations.Last()
	s := Status{
		Host:     r.host().String(),
		Instance: r.cfg.Ledger.Instance(),
		Ready:    chain.Phase == phaseReady,
		Next:     r.schedule.NextTick(),
		Last:     RotationStatus{Reason: last.Reason, Began: last.Began, Error: errText(lastErr)},
		Problem:  errText(chain.Err),
		Files:    r.files.Infos(),
		Retiring: []RetiringInfo{},
		Ledger:   errText(r.cfg.Ledger.Err()),
	}
	if c := chain.Current; !c.IsZero() {
		s.Token = DescribeToken(c.Entry)
		s.Deadline = c.Deadline(r.skew())
	}
	for _, old := range r.queue.Items() {
		s.Retiring = append(s.Retiring, RetiringInfo{ID: old.Entry.ID, Expires: old.Entry.Expiry, Waits: r.waitsFor(old), Error: old.Failed})
	}
	return s
}

// waitsFor says what a token in the queue waits for before it is revoked, "" if
// that has been tried and failed.
func (r *Rotator) waitsFor(old retiree) string {
	switch {
	case old.Failed != "":
		return ""
	case old.Drained.IsZero():
		return "requests that carry it"
	case old.uncertain():
		return "the workspace's list, which tells whether its mint made a token"
	}
	return "the grace, until " + old.Drained.Add(r.cfg.Grace).Round(0).UTC().Format(time.RFC3339)
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
