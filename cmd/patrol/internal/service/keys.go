package service

import (
	"time"

	"patrol/cmd/patrol/internal/state"
	"patrol/proxy/guard"
	"patrol/rotator/atomicfile"
	"patrol/rotator/ledger"
)

// openKeys puts the state folder's client keys into force. A disk that can't be read or
// written is no reason not to serve.
func (s *Service) openKeys() (err error) {
	s.keys, err = state.OpenKeys(s.info.State)
	if atomicfile.IsDiskError(err) {
		s.log.Error("the client keys can't be read or made: what isn't in force lets nobody in until `patrol keys new NAME` works, or patrol is started again", "err", err)
		err = nil
	}
	s.setKeys()
	return err
}

// ReloadKeys takes up what stands in the state folder now.
func (s *Service) ReloadKeys() error {
	if err := s.keys.Reload(); err != nil {
		return err
	}
	s.setKeys()
	s.log.Info("client keys taken up", "in_force", len(s.keys.List()), "revoked", len(s.keys.Revoked()))
	return nil
}

func (s *Service) setKeys() { s.guard.SetKeys(forGuard(s.keys.List()), forGuard(s.keys.Revoked())) }

func forGuard(keys []state.ClientKey) []guard.ClientKey {
	all := make([]guard.ClientKey, len(keys))
	for i, k := range keys {
		all[i] = guard.ClientKey{Name: k.Name, Hash: k.Hash}
	}
	return all
}

// tokenUse says what the token with this hash is good for as a client's credential.
func (s *Service) tokenUse(hash string) guard.TokenUse {
	e, ok := s.Ledger.ByHash(hash)
	if !ok || !e.Host.MaySame(s.Client.Host()) {
		return guard.TokenUseless
	}
	return useOf(e, s.o.OldTokens, time.Now())
}

// useOf says it of an entry of the ledger: a token counts until patrol has revoked it, and
// for a while longer, since a running agent may have kept it.
func useOf(e ledger.Entry, old time.Duration, now time.Time) guard.TokenUse {
	switch {
	case e.Stage != ledger.Retiring && !e.Stage.Ended():
		return guard.TokenLive
	case e.Stage == ledger.Retiring, now.Sub(e.At) < old:
		return guard.TokenReplaced
	}
	return guard.TokenUseless
}
