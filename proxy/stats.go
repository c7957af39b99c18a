package proxy

import "sync/atomic"

// Stats counts since New.
type Stats struct {
	Requests uint64 // that came in, of any kind
	Waited   uint64 // that waited for a token
	Stale    uint64 // sent again with a token that had become current
	Refused  uint64 // of which Config.Refused was told
	Resets   uint64 // sent again after a connection had died
	NoToken  uint64 // answered 503: no token came in time
	Failed   uint64 // answered 502: no answer from upstream
}

type stats struct {
	requests, waited, stale, refused, resets, noToken, failed atomic.Uint64
}

// Stats returns what has been counted so far.
func (p *Proxy) Stats() Stats {
	s := &p.stats
	return Stats{
		Requests: s.requests.Load(),
		Waited:   s.waited.Load(),
		Stale:    s.stale.Load(),
		Refused:  s.refused.Load(),
		Resets:   s.resets.Load(),
		NoToken:  s.noToken.Load(),
		Failed:   s.failed.Load(),
	}
}
