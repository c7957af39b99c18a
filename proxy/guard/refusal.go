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
	reasonTarget    reason = "target"        // the request is for another server
	reasonHost      reason = "host"          // its Host isn't ours
	reasonOrigin    reason = "origin"        // its Origin names a web page of another origin
	reasonFetchSite reason = "fetch_site"    // its Sec-Fetch-Site, or the lack of it, points to such a page
	reasonForeign   reason = "foreign_user"  // the client's user isn't let in
	reasonGone      reason = "client_gone"   // the client has closed its socket
	reasonUnknown   reason = "owner_unknown" // no credential, and the client's user can't be known
	reasonRemote    reason = "remote"        // no credential, and the client isn't on loopback
	reasonOverHalf  reason = "crowded"       // a connection was closed to keep slots for the user's own
	reasonFull      reason = "full"          // a connection had to wait until another was closed
)

var reasons = []reason{
	reasonTarget, reasonHost, reasonOrigin, reasonFetchSite, reasonForeign, reasonGone, reasonUnknown, reasonRemote, reasonOverHalf, reasonFull,
}

// refuse counts and logs a refusal, and returns it. p may be nil, except for
// reasonForeign.
func (g *Guard) refuse(r *http.Request, why reason, p *peer) *Refusal {
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
	case reasonOrigin, reasonFetchSite:
		origin, _ := originAuthority(r.Header["Origin"])
		detail = slog.String("origin", displayAuthority(origin))
		refusal.Message = "patrol takes no requests from web pages, browser extensions or apps that are built as web pages, only from programs: this one says that a page of another origin made it (Origin, Sec-Fetch-Site)."
	case reasonForeign:
		detail = slog.Uint64("uid", uint64(p.uid))
		refusal.Close = true
		refusal.Message = fmt.Sprintf("This connection belongs to the user with id %d, and this patrol serves id %s: run the client as that user, start patrol with --allow-user %d, or run a patrol of your own on another port.", p.uid, listOf(g.users), p.uid)
	case reasonGone:
		refusal.Close = true
		refusal.Message = "The client closed its connection before patrol could see whose it was: keep it open until the answer has come."
	case reasonUnknown:
		refusal.Status = http.StatusUnauthorized
		refusal.Close = true // on a new connection the kernel may know the user
		refusal.Message = credentialMessage(r, "patrol can't see which user this connection belongs to")
	default:
		refusal.Status = http.StatusUnauthorized
		refusal.Message = credentialMessage(r, "this connection doesn't come over loopback but from another machine or container, or by this machine's address in a network")
	}
	if attrs, ok := g.record(why, r.RemoteAddr); ok {
		g.log.LogAttrs(r.Context(), slog.LevelWarn, "request refused", append(attrs, detail)...)
	}
	return refusal
}

// listOf returns a list of users for a message.
func listOf(ids []uint32) string {
	list := make([]string, len(ids))
	for i, id := range ids {
		list[i] = strconv.FormatUint(uint64(id), 10)
	}
	return strings.Join(list, ", ")
}

// credentialMessage asks for a credential, and says why one is needed.
func credentialMessage(r *http.Request, because string) string {
	sent := "sent none"
	if sendsCredential(r.Header) {
		sent = "sent one that patrol doesn't know"
	}
	return "A credential is needed, since " + because + ", and the client " + sent +
		": send what `patrol token` prints, or a key of the file given to patrol with --client-key-file, as Authorization: Bearer, x-api-key or x-goog-api-key."
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
