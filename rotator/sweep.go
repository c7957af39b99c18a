package rotator

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"patrol/rotator/ledger"
)

// sweep revokes the token of a mint whose answer never came, if the workspace
// made one. It waits while that may be the token in use: see begun.
func (r *Rotator) sweep(ctx context.Context, by actor, e ledger.Entry) (ledger.Entry, error) {
	if h := r.held(); h.token.ID == "" && !h.token.IsZero() {
		return e, errors.New("it may be the token in use, whose id isn't known")
	}
	if e.ID == "" {
		list, err := r.list(ctx, by)
		if err != nil {
			return e, fmt.Errorf("looking for a token that may have been minted: %w", err)
		}
		for _, t := range list {
			if t.Comment == e.Comment {
				e.ID = t.ID
			}
		}
	}
	if e.ID != "" {
		if err := r.revoke(ctx, by, e); err != nil {
			return e, fmt.Errorf("revoking a token whose mint was cut off: %w", err)
		}
		return ended(e, ledger.Revoked, "its mint was cut off"), nil
	}
	if since := r.now().Sub(e.At); since >= 0 && since < settled {
		return e, errors.New("a create without an answer may still take effect")
	}
	if err := r.mayTell(ctx, by, e); err != nil {
		return e, fmt.Errorf("it may have been minted: %w", err)
	}
	return unminted(e), nil
}

// tendLedger has written what could not be written in the ledger, and puts what
// the ledger has taken over from another into the queue.
func (r *Rotator) tendLedger() {
	before := r.cfg.Ledger.Err()
	if err := r.cfg.Ledger.Sync(); before != nil && err == nil {
		r.log.Info("the ledger is written again")
	}
	if r.Ready() != nil || !r.cfg.Ledger.TakenOver() {
		return // or take does it
	}
	r.taking.Lock()
	defer r.taking.Unlock()
	r.settle()
}

// rebuild puts into the queue the tokens of this instance that a ledger with
// gaps doesn't know, and calls the ledger mended; of a ledger that is empty
// without having lost anything it only reports them. It waits until it is
// certain which token is the one in use.
func (r *Rotator) rebuild(ctx context.Context) error {
	h, lost := r.held(), r.cfg.Ledger.Salvaged()
	hashes := h.entry.ID == h.entry.Hash // the workspace's ids are those of the values
	switch {
	case h.entry.ID != "" && (hashes || h.entry.Ours()):
	case lost:
		return errors.New("the workspace's list doesn't tell which token is the one in use: it will once that is replaced")
	default:
		return nil
	}
	list, err := r.list(ctx, r.as(h.token))
	if err != nil {
		return fmt.Errorf("rebuilding the ledger from the workspace's list: %w", err)
	}
	for _, t := range list {
		instance, nonce, minted := ledger.ParseComment(t.Comment)
		ours := minted && instance == r.cfg.Ledger.Instance()
		if !ours || t.ID == h.entry.ID || r.cfg.Ledger.Knows(t.ID) || r.cfg.Ledger.Has(nonce) {
			continue
		}
		if !lost { // not of this ledger, so perhaps not of this machine
			r.log.Warn("a token of this instance that an earlier patrol must have minted: it is left to expire", "token", t, "expires", t.Expiry)
			continue
		}
		e := ledger.Entry{
			Nonce: nonce, Stage: ledger.Minted, ID: t.ID, Host: r.host(), User: h.entry.User,
			Comment: t.Comment, Created: t.Created, Expiry: t.Expiry,
		}
		if hashes {
			e.Hash = t.ID
		} else if err := r.allWritten(h); err != nil {
			return err
		}
		r.log.Info("a token of ours that the ledger had lost", "token", t, "comment", t.Comment)
		r.enqueue(holding{entry: e}, nil)
	}
	return r.cfg.Ledger.Mended()
}

// allWritten makes sure that each file holds the token in use, and so no other
// of ours: of a token whose hash isn't known nothing else tells.
func (r *Rotator) allWritten(h holding) error {
	err := failing(r.files.states())
	if h.entry.Stage != ledger.Current || err != nil {
		return errors.Join(errors.New("a credential file may hold a token that the ledger has lost"), err)
	}
	return nil
}

// makeRoom revokes what is in the queue and used by nobody, without waiting
// for its grace: the workspace has no room for another token. It reports
// whether there is room now.
func (r *Rotator) makeRoom(ctx context.Context, by actor) (room bool) {
	r.mu.Lock()
	queue := slices.Clone(r.queue)
	r.mu.Unlock()
	for _, a := range queue {
		r.mu.Lock()
		e, quiet := a.entry, !a.quiet.IsZero()
		r.mu.Unlock()
		if !quiet || e.ID == "" || !e.Host.MaySame(r.host()) || r.notOurs(e) != "" || r.letGo(e) != nil {
			continue
		}
		if r.revoke(ctx, by, e) == nil {
			room = true
		}
	}
	return room
}
