package guard

import (
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// Refusal says why a request isn't let in.
type Refusal struct {
	Status  int    // for the answer: 400, 401 or 403
	Reason  string // one of Counters' keys, for logs and metrics
	Message string // for the user: what is wrong, and what to do

	// Close says that the answer should end the connection ("Connection:
	// close"): a new one may be let in, or the client has gone.
	Close bool
}

// reason is why a request or a connection was turned away, or had to wait, as logs
// and metrics name it.
type reason string

const (
	reasonTarget     reason = "target"         // the request is for another server
	reasonHost       reason = "host"           // its Host isn't ours
	reasonOrigin     reason = "origin"         // it has an Origin, so a web page made it
	reasonFetchSite  reason = "fetch_site"     // its Sec-Fetch-Site, or the lack of it, points to a web page
	reasonWorker     reason = "service_worker" // a browser wants the script of a service worker
	reasonNavigation reason = "navigation"     // a person's browser asks for what isn't a page
	reasonForeign    reason = "foreign_user"   // the client's user isn't let in
	reasonGone       reason = "client_gone"    // the client has closed its socket
	reasonRevoked    reason = "revoked_key"    // it shows a client key that was revoked
	reasonUnknown    reason = "owner_unknown"  // no key, and the client's user can't be known
	reasonRemote     reason = "remote"         // no key, and the client isn't on this machine
	reasonOverHalf   reason = "crowded"        // a connection was closed to keep slots for the user's own
	reasonFull       reason = "full"           // a connection had to wait until another was closed
)

var reasons = []reason{
	reasonTarget, reasonHost, reasonOrigin, reasonFetchSite, reasonWorker, reasonNavigation, reasonForeign, reasonGone,
	reasonRevoked, reasonUnknown, reasonRemote, reasonOverHalf, reasonFull,
}

// refuse counts and logs a refusal, and returns it. p may be nil, except for
// reasonForeign; by is what the client has shown.
func (g *Guard) refuse(r *http.Request, why reason, p *peer, by shown) (Client, *Refusal) {
	refusal := &Refusal{Status: http.StatusForbidden, Reason: string(why)}
	detail := slog.Attr{}
	switch why {
	case reasonTarget:
		refusal.Status = http.StatusBadRequest
		refusal.Message = "patrol is no forward proxy: use it as a base URL (http://localhost:4000), not as HTTP_PROXY or HTTPS_PROXY."
	case reasonHost:
		host := displayAuthority(r.Host)
		detail = slog.String("host", host)
		refusal.Message = fmt.Sprintf("patrol answers requests to %s (any port), and this one is to %s: use one of those names in the base URL, or start patrol with --allow-host.", strings.Join(g.hosts, ", "), host)
	case reasonOrigin, reasonFetchSite, reasonWorker:
		detail = slog.String("origin", displayAuthority(originHost(r.Header["Origin"])))
		refusal.Message = "patrol takes no requests from web pages, browser extensions or apps that are built as web pages, only from programs: this one says that a page made it (Origin, Sec-Fetch-Site, Service-Worker)."
	case reasonNavigation:
		refusal.Message = "A browser reaches patrol's own page only, which is /: this address is for programs."
	case reasonForeign:
		detail = slog.Uint64("uid", uint64(p.uid))
		refusal.Close = true
		refusal.Message = g.foreignMessage(p.uid)
	case reasonGone:
		refusal.Close = true
		refusal.Message = "The client closed its connection before patrol could see whose it was: keep it open until the answer has come."
	case reasonRevoked:
		detail = slog.String("key", by.revoked)
		refusal.Status = http.StatusUnauthorized
		refusal.Message = fmt.Sprintf("The client key %q that this client sent was revoked: give it another, which `patrol keys new NAME` prints where patrol runs, and start it again.", by.revoked)
	case reasonUnknown:
		detail = slog.String("sent", by.name())
		refusal.Status = http.StatusUnauthorized
		refusal.Close = true // on a new connection the kernel may know the user
		refusal.Message = keyMessage(by, "patrol can't see which user this connection belongs to") +
			" What `patrol exec` and `patrol env` start has one."
	default:
		detail = slog.String("sent", by.name())
		refusal.Status = http.StatusUnauthorized
		refusal.Message = keyMessage(by, "this connection comes from another machine or container")
	}
	if attrs, ok := g.record(why, r.RemoteAddr); ok {
		g.log.LogAttrs(r.Context(), slog.LevelWarn, "request refused", append(attrs, detail)...)
	}
	return Client{}, refusal
}

// foreignMessage tells another user how to be let in.
func (g *Guard) foreignMessage(uid uint32) string {
	whose, allow := fmt.Sprintf("the user with id %d,", uid), strconv.FormatUint(uint64(uid), 10)
	if uid == 0 {
		whose, allow = "root, who is a user like any other here (some forwarders run as root),", "root"
	}
	return fmt.Sprintf("This connection belongs to %s and this patrol serves id %s: run the client as that user, start patrol with --allow-user %s, or run a patrol of your own on another port.", whose, listOf(g.users), allow)
}

// listOf returns a list of users for a message.
func listOf(ids []uint32) string {
	list := make([]string, len(ids))
	for i, id := range ids {
		list[i] = strconv.FormatUint(uint64(id), 10)
	}
	return strings.Join(list, ", ")
}

// keyMessage asks for a key, and says why one is needed.
func keyMessage(by shown, because string) string {
	sent := "the client sent none"
	if by.name() != None {
		sent = "what the client sent is none that is in force"
	}
	return "A client key is needed, since " + because + ", and " + sent +
		": run `patrol keys new NAME` where patrol runs, and send what it prints as Authorization: Bearer, x-api-key, x-goog-api-key or the password of Basic."
}

// displayAuthority returns an authority that the client sent for a log or an
// answer: in words instead, unless it is well-formed and short.
func displayAuthority(authority string) string {
	const longest = 255 // of a host name, by RFC 1035
	switch _, ok := hostOf(authority); {
	case authority == "":
		return "(none)"
	case !ok || len(authority) > longest:
		return "(malformed)"
	}
	return authority
}

// Counters returns how many requests and connections were turned away or had to
// wait so far, by reason. It has all reasons, also those with a count of 0.
func (g *Guard) Counters() map[string]uint64 {
	counts := make(map[string]uint64, len(reasons))
	for why, s := range g.stats {
		counts[string(why)] = s.count.Load()
	}
	return counts
}

// reasonStats is a reason's counter and log quota.
type reasonStats struct {
	count atomic.Uint64
	quota LogQuota
}

func newStats() map[reason]*reasonStats {
	stats := make(map[reason]*reasonStats, len(reasons))
	for _, why := range reasons {
		stats[why] = new(reasonStats)
	}
	return stats
}

// record counts a refusal or a wait. It is ok to log it if the reason's quota
// allows that, with attrs: a client that is refused a million times must not fill
// the disk.
func (g *Guard) record(why reason, remote string) (attrs []slog.Attr, ok bool) {
	s := g.stats[why]
	s.count.Add(1)
	unlogged, ok := s.quota.Take(time.Now())
	if !ok {
		return nil, false
	}
	attrs = []slog.Attr{slog.String("reason", string(why)), slog.String("remote", remote)}
	if unlogged > 0 {
		attrs = append(attrs, slog.Uint64("not_logged", unlogged))
	}
	return attrs, true
}
