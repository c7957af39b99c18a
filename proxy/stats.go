package proxy

import (
	"net/http"
	"sync/atomic"
	"time"

	"patrol/proxy/guard"
)

// Stats counts since New.
type Stats struct {
	Requests uint64 `json:"requests"`   // that came in, of any kind
	Waited   uint64 `json:"waited"`     // that waited for a token
	Stale    uint64 `json:"sent_again"` // sent again with a token that had become current
	Refused  uint64 `json:"-"`          // of which Config.Refused was told
	Resets   uint64 `json:"resets"`     // sent again after a connection had died
	NoToken  uint64 `json:"no_token"`   // answered 503: no token came in time
	Failed   uint64 `json:"no_answer"`  // answered 502: no answer from upstream
	Unkept   uint64 `json:"unkept"`     // passed on without filter and replay, for lack of memory
}

type stats struct {
	requests, waited, stale, refused, resets, noToken, failed, unkept atomic.Uint64

	unkeptLog guard.LogQuota
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
		Unkept:   s.unkept.Load(),
	}
}

// unkept counts and tells of a request that passes as it comes since there is
// no memory for it.
func (p *Proxy) unkept(r *http.Request) {
	p.stats.unkept.Add(1)
	if skipped, ok := p.stats.unkeptLog.Take(time.Now()); ok {
		p.log.Warn("request passes without filter and replay: those that wait for their answers hold all the memory for it",
			"method", r.Method, "path", r.URL.Path, "length", r.ContentLength, "not_logged_before", skipped)
	}
}
