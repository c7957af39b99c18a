package service

import (
	"errors"
	"io/fs"
	"time"

	"patrol/cmd/patrol/internal/state"
	"patrol/proxy/guard"
	"patrol/rotator/ledger"
)

// ReloadKeys takes up what stands in the state folder now, and writes there what it has
// lost. Where the default key is another one, agents' files get that at once: the one
// before is refused.
func (s *Service) ReloadKeys() error {
	s.reloading.Lock()
	defer s.reloading.Unlock()
	if err := state.CheckPrivate(s.info.State); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err // others would say whom we let in
	}
	before, _ := s.Keys.Key(state.DefaultKey)
	if err := s.Keys.Reload(); err != nil {
		return err
	}
	err := s.Keys.Save()
	inForce, revoked := s.setKeys()
	if now, _ := s.Keys.Key(state.DefaultKey); now != before {
		s.Rotator.TryNow()
	}
	s.log.Info("client keys taken up", "in_force", inForce, "revoked", revoked)
	return err
}

// setKeys has the guard know the keys, and returns how many of each kind there are.
func (s *Service) setKeys() (inForce, revoked int) {
	live, dead := s.Keys.All()
	s.guard.SetKeys(forGuard(live), forGuard(dead))
	return len(live), len(dead)
}

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
