package proxy

import (
	"bytes"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"patrol/proxy/guard"
)

// metrics answers with what is counted, in the text format that Prometheus and
// its kin read: https://prometheus.io/docs/instrumenting/exposition_formats/.
func (p *Proxy) metrics(w http.ResponseWriter) {
	var b bytes.Buffer
	s := p.Stats()
	for _, m := range []struct {
		name, kind, help string
		value            uint64
	}{
		{"requests_total", "counter", "Requests that came in, of any kind.", s.Requests},
		{"requests_waited_total", "counter", "Requests that waited for a token.", s.Waited},
		{"requests_unkept_total", "counter", "Requests passed on without filter and replay, for lack of memory.", s.Unkept},
		{"unfiltered_total", "counter", "Requests and answers that exceed a bound of the filter's work, and passed as they are.", s.Unfiltered},
		{"resent_stale_total", "counter", "Times that a request was sent again with a token that had become current.", s.Stale},
		{"resent_reset_total", "counter", "Times that a request was sent again after its connection had died.", s.Resets},
		{"refused_current_total", "counter", "Times that an upstream called the current token invalid.", s.Refused},
		{"answered_503_total", "counter", "Requests answered 503: no token came in time.", s.NoToken},
		{"answered_502_total", "counter", "Requests answered 502: no answer came from upstream.", s.Failed},
		{"ready", "gauge", "1 if requests can be served.", one(p.usable() == nil)},
		{"warnings", "gauge", "What is wrong although requests are served; /readyz says what.", uint64(len(p.cfg.Warnings()))},
	} {
		family(&b, m.name, m.kind, m.help)
		fmt.Fprintf(&b, "patrol_%s %d\n", m.name, m.value)
	}
	if expiry := p.current().Expiry; !expiry.IsZero() {
		family(&b, "token_expiry_timestamp_seconds", "gauge", "When the token in use expires, in Unix time.")
		fmt.Fprintf(&b, "patrol_token_expiry_timestamp_seconds %d\n", expiry.Unix())
	}
	if p.cfg.Guard != nil {
		turnedAway := p.cfg.Guard.Counters()
		family(&b, "turned_away_total", "counter", "Requests and connections that the guard turned away or made wait, by reason.")
		for _, reason := range slices.Sorted(maps.Keys(turnedAway)) {
			fmt.Fprintf(&b, "patrol_turned_away_total{reason=%q} %d\n", reason, turnedAway[reason])
		}
		family(&b, "client_requests_total", "counter", "Requests that were let in, by the name of the client's key; unknown: what it sent is no client key, none: it sent nothing.")
		for _, client := range p.cfg.Guard.Clients() {
			fmt.Fprintf(&b, "patrol_client_requests_total{client=%q} %d\n", client.Name, client.Requests)
		}
	}
	ownHeader(w).Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	_, _ = w.Write(b.Bytes()) // a client that is gone needs no answer
}

// family writes what goes before the values of a name.
func family(b *bytes.Buffer, name, kind, help string) {
	fmt.Fprintf(b, "# HELP patrol_%s %s\n# TYPE patrol_%[1]s %[3]s\n", name, help, kind)
}

func one(is bool) uint64 {
	if is {
		return 1
	}
	return 0
}

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

	Unfiltered uint64 `json:"unfiltered"` // passed on without filter, since they exceed a bound of its work
}

type stats struct {
	mu sync.Mutex
	Stats

	unkeptLog, unfilteredLog guard.LogQuota
}

// count adds one to a field of p.stats.
func (p *Proxy) count(field *uint64) {
	p.stats.mu.Lock()
	defer p.stats.mu.Unlock()
	*field++
}

// Stats returns what has been counted so far.
func (p *Proxy) Stats() Stats {
	p.stats.mu.Lock()
	defer p.stats.mu.Unlock()
	return p.stats.Stats
}

// countUnkept counts and tells of a request that passes as it comes since there is
// no memory for it.
func (e *exchange) countUnkept() {
	p := e.proxy
	p.count(&p.stats.Unkept)
	if skipped, ok := p.stats.unkeptLog.Take(time.Now()); ok {
		e.log().Warn("request passes without filter and replay: those that wait for their answers hold all the memory for it",
			"length", e.r.ContentLength, "not_logged_before", skipped)
	}
}

// countUnfiltered counts and tells of a request or an answer that passes as it is since it
// exceeds a bound of the filter.
func (e *exchange) countUnfiltered(bound string) {
	p := e.proxy
	p.count(&p.stats.Unfiltered)
	if skipped, ok := p.stats.unfilteredLog.Take(time.Now()); ok {
		e.log().Warn("request or answer passes without filter: it exceeds a bound of the filter's work", "bound", bound, "not_logged_before", skipped)
	}
}
