package proxy

import (
	"bytes"
	"fmt"
	"maps"
	"net/http"
	"slices"
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
		{"resent_stale_total", "counter", "Times that a request was sent again with a token that had become current.", s.Stale},
		{"resent_reset_total", "counter", "Times that a request was sent again after its connection had died.", s.Resets},
		{"refused_current_total", "counter", "Times that an upstream called the current token invalid.", s.Refused},
		{"answered_503_total", "counter", "Requests answered 503: no token came in time.", s.NoToken},
		{"answered_502_total", "counter", "Requests answered 502: no answer came from upstream.", s.Failed},
		{"ready", "gauge", "1 if requests can be served.", one(p.usable() == nil)},
		{"warnings", "gauge", "What is wrong although requests are served; /readyz says what.", uint64(len(p.warnings()))},
	} {
		family(&b, m.name, m.kind, m.help)
		fmt.Fprintf(&b, "patrol_%s %d\n", m.name, m.value)
	}
	if expiry := p.current().Expiry; !expiry.IsZero() {
		family(&b, "token_expiry_timestamp_seconds", "gauge", "When the token in use expires, in Unix time.")
		fmt.Fprintf(&b, "patrol_token_expiry_timestamp_seconds %d\n", expiry.Unix())
	}
	if p.guard != nil {
		turnedAway := p.guard.Counters()
		family(&b, "turned_away_total", "counter", "Requests and connections that the guard turned away or made wait, by reason.")
		for _, reason := range slices.Sorted(maps.Keys(turnedAway)) {
			fmt.Fprintf(&b, "patrol_turned_away_total{reason=%q} %d\n", reason, turnedAway[reason])
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
