package rotator

import (
	"context"
	"errors"
	"fmt"

	"patrol/rotator/ledger"
	"patrol/rotator/pat"
)

// saveLedger writes into the ledger what could not be written before, and puts into
// the queue what the ledger has taken over from another.
func (r *Rotator) saveLedger() {
	before := r.cfg.Ledger.Err()
	if err := r.cfg.Ledger.Save(); before != nil && err == nil {
		r.cfg.Log.Info("the ledger is written again")
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

// logUnsaved says so if it couldn't be recorded whether the user has logged out.
func (r *Rotator) logUnsaved(err error) {
	if err != nil {
		r.cfg.Log.Error("the ledger can't be written: will be tried again", "err", err)
	}
}

// rebuildLedger puts back what the ledger lacks, if it may lack something.
func (u *upkeep) rebuildLedger(ctx context.Context) {
	if !u.gaps || u.Ready() != nil {
		return
	}
	err := u.rebuild(ctx)
	if u.gaps = err != nil; u.gaps && errText(err) != u.logged {
		u.cfg.Log.Warn("the ledger has gaps still", "err", err)
	}
	u.logged = errText(err)
}

// rebuild puts into the queue the tokens of this instance that a ledger with
// gaps doesn't know, and calls the ledger complete; of a ledger that is empty
// without having lost anything it only reports them. It waits until it is
// certain which token is the one in use.
func (r *Rotator) rebuild(ctx context.Context) error {
	c, lost := r.chain.State().Current, r.cfg.Ledger.Incomplete()
	hashes := c.Entry.ID == c.Entry.Hash // the workspace's ids are those of the values
	switch {
	case c.Entry.ID != "" && (hashes || c.Entry.Ours()):
	case lost:
		return errors.New("the workspace's list doesn't tell which token is the one in use: it will once that is replaced")
	default:
		return nil
	}
	list, err := r.authority.ListWhole(ctx, r.authority.actingWith(c.Token))
	if err != nil {
		return fmt.Errorf("rebuilding the ledger from the workspace's list: %w", err)
	}
	var strays []pat.Info
	for _, t := range list {
		instance, nonce, minted := pat.ParseComment(t.Comment)
		_, known := r.cfg.Ledger.ByNonce(nonce)
		if !minted || known || instance != r.cfg.Ledger.Instance() || t.ID == c.Entry.ID || r.cfg.Ledger.Knows(t.ID) {
			continue
		}
		if _, ours := r.cfg.Ledger.MintedHere(t.Comment); !ours || !lost { // perhaps another machine's
			strays = append(strays, t)
			continue
		}
		e := ledger.Entry{Nonce: nonce, Stage: ledger.Minted, Info: t, Host: r.host(), User: c.Entry.User}
		if hashes {
			e.Hash = t.ID
		} else if err := r.allWritten(c); err != nil {
			return err
		}
		r.cfg.Log.Info("a token of ours that the ledger had lost", "token", t, "comment", t.Comment)
		r.queue.Add(Credential{Entry: e}, nil)
	}
	if len(strays) > 0 {
		r.cfg.Log.Warn("tokens bear this patrol's name that its ledger doesn't know: they are left to expire", "tokens", strays)
	}
	return r.cfg.Ledger.MarkComplete()
}

// allWritten makes sure that each file holds the token in use, and so no other of
// ours. Files can't be searched for a token whose hash isn't known.
func (r *Rotator) allWritten(c Credential) error {
	err := failures(r.files.Infos())
	if c.Entry.Stage != ledger.Current || err != nil {
		return errors.Join(errors.New("a credential file may hold a token that the ledger has lost"), err)
	}
	return nil
}
