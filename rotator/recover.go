package rotator

import (
	"context"
	"errors"
	"fmt"

	"patrol/rotator/ledger"
)

// saveLedger writes into the ledger what could not be written before, and puts into
// the queue what the ledger has taken over from another.
func (r *Rotator) saveLedger() {
	before := r.cfg.Ledger.Err()
	if r.cfg.Ledger.Save() == nil && before != nil {
		r.TryNow()
	}
	if r.Ready() != nil || !r.cfg.Ledger.ClearTakenOver() {
		return // or adopt does it
	}
	r.discovery.adoptMu.Lock()
	defer r.discovery.adoptMu.Unlock()
	here, _ := r.candidates() // as in adopt
	r.enqueuePending(here)
}

// fillGaps rebuilds the ledger, and says why it can't, if that is new.
func (u *upkeep) fillGaps(ctx context.Context) {
	if u.schedule.WaitForList(ledgerGaps) > 0 {
		return
	}
	err := u.rebuildLedger(ctx)
	if err != nil && err.Error() != u.logged {
		u.cfg.Log.Warn("the ledger has gaps still", "err", err)
	}
	u.logged = errText(err)
	if err != nil {
		u.schedule.Failed(ledgerGaps, err)
	}
}

// rebuildLedger puts into the queue the tokens of this state folder that a ledger with
// gaps doesn't know, and calls the ledger complete. It waits until there is a token in
// use, and it is certain which that is.
func (r *Rotator) rebuildLedger(ctx context.Context) error {
	s := r.chain.State()
	if !r.cfg.Ledger.Incomplete() || s.Phase != phaseReady {
		return nil
	}
	c := s.Current
	hashes := c.Entry.ID == c.Entry.Hash // the workspace's ids are those of the values
	if c.Entry.ID == "" || !hashes && !c.Entry.Ours() {
		return errors.New("the workspace's list doesn't tell which token is the one in use: it will once that is replaced")
	}
	list, err := r.authority.ListWhole(ctx, r.authority.actingWith(c.Token))
	if err != nil {
		return fmt.Errorf("rebuilding the ledger from the workspace's list: %w", err)
	}
	for _, t := range list {
		nonce, ours := r.cfg.Ledger.MintedHere(t.Comment)
		_, known := r.cfg.Ledger.ByNonce(nonce)
		if !ours || known || t.ID == c.Entry.ID || r.cfg.Ledger.Knows(t.ID) {
			continue
		}
		e := ledger.Entry{Nonce: nonce, Stage: ledger.Minted, Info: t, Host: r.host(), User: c.Entry.User}
		if hashes {
			e.Hash = t.ID
		} else if err := r.allWritten(c); err != nil {
			return err
		}
		r.cfg.Log.Info("a token of ours that the ledger had lost", "token", t, "comment", t.Comment)
		r.queue.Add(credential{Entry: e}, nil)
	}
	return r.cfg.Ledger.MarkComplete()
}

// allWritten makes sure that each file holds the token in use, and so no other of
// ours. Files can't be searched for a token whose hash isn't known.
func (r *Rotator) allWritten(c credential) error {
	err := failures(r.files.Infos())
	if c.Entry.Stage != ledger.Current || err != nil {
		return errors.Join(errors.New("a credential file may hold a token that the ledger has lost"), err)
	}
	return nil
}
