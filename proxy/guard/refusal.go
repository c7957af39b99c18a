package guard

import (
	"fmt"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"
)

// Refusal says why a request isn't let in.
type Refusal struct {
	Status  int    // for the answer: 400, 401 or 403
	Reason  string // one of Counters' keys, for logs and metrics
	Message string // for the user: what is wrong, and how to be let in

	// Close says that the client does better with another connection, or with
	// none: the answer should end this one ("Connection: close").
	Close bool
}

// reason is why a request or a connection was turned away.
type reason int

const (
	reasonTarget reason = iota
	reasonHost
	reasonOrigin
	reasonFetchSite
	reasonForeign
	reasonGone
	reasonUnknown
	reasonRemote
	reasonOverHalf
	reasonFull
	reasonCount
)

// String returns the word for logs and metrics.
func (why reason) String() string {
	return [reasonCount]string{
		reasonTarget:    "target",        // asked for another server
		reasonHost:      "host",          // its Host isn't ours
		reasonOrigin:    "origin",        // from a web page of another origin
		reasonFetchSite: "fetch_site",    // the same, as Sec-Fetch-Site says
		reasonForeign:   "foreign_user",  // the client's user isn't let in
		reasonGone:      "client_gone",   // the client has closed its socket
		reasonUnknown:   "owner_unknown", // no credential, and the client's user isn't known
		reasonRemote:    "remote",        // no credential, and the client is on another machine
		reasonOverHalf:  "crowded",       // a connection closed to keep room for the user's own
		reasonFull:      "full",          // a connection that had to wait for the end of another
	}[why]
}

// refuse counts and logs a refusal, and returns it. p may be nil.
func (g *Guard) refuse(r *http.Request, why reason, p *peer) *Refusal {
	refusal := &Refusal{Status: http.StatusForbidden, Reason: why.String()}
	detail := slog.Attr{}
	switch why {
	case reasonTarget:
		refusal.Status = http.StatusBadRequest
		refusal.Message = "patrol is no forward proxy: use it as a base URL (http://localhost:4000), not as HTTP_PROXY or HTTPS_PROXY."
	case reasonHost:
		host := displayAuthority(r.Host)
		detail = slog.String("host", host)
		refusal.Message = fmt.Sprintf("patrol answers requests to %s (any port), and this one is to %s: use one of those names in the base URL, or start patrol with --allow-host.", g.hostList, host)
	case reasonOrigin, reasonFetchSite:
		origin, _ := originAuthority(r.Header["Origin"])
		detail = slog.String("origin", displayAuthority(origin))
		refusal.Message = "patrol takes no requests from web pages, browser extensions or apps that are built as web pages, only from programs: this one says that a page of another origin made it (Origin, Sec-Fetch-Site)."
	case reasonForeign:
		detail = slog.Uint64("uid", uint64(p.uid))
		refusal.Close = true
		refusal.Message = fmt.Sprintf("This connection belongs to the user with id %d, and this patrol serves id %s: run the client as that user, start patrol with --allow-user %d, or run a patrol of your own on another port.", p.uid, g.userList, p.uid)
	case reasonGone:
		refusal.Close = true
		refusal.Message = "The client closed its connection before patrol could see whose it was: keep it open until the answer has come."
	case reasonUnknown:
		refusal.Status = http.StatusUnauthorized
		refusal.Close = true // the kernel may answer for the next one
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

func credentialMessage(r *http.Request, because string) string {
	sent := "sent none"
	if sendsCredential(r.Header) {
		sent = "sent one that patrol doesn't know"
	}
	return "A credential is needed, since " + because + ", and the client " + sent +
		": send what `patrol token` prints, or a key of the file given to patrol with --client-key-file, as Authorization: Bearer, x-api-key or x-goog-api-key."
}

// displayAuthority returns an authority that the client sent as far as it may stand
// in a log or an answer: well-formed and of a size that people read.
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

// Counters returns how many requests and connections were turned away or made
// to wait so far, by reason. Each reason is there, also with none.
func (g *Guard) Counters() map[string]uint64 {
	counts := make(map[string]uint64, reasonCount)
	for why := range reasonCount {
		counts[why.String()] = g.stats[why].count.Load()
	}
	return counts
}

// reasonStats holds what is counted and logged for each reason.
type reasonStats [reasonCount]struct {
	count atomic.Uint64
	quota LogQuota
}

// record counts, and returns what to log if the reason's quota lets it: whoever
// is refused can be refused a million times, and must not fill the disk by it.
func (g *Guard) record(why reason, remote string) (attrs []slog.Attr, ok bool) {
	s := &g.stats[why]
	s.count.Add(1)
	unlogged, ok := s.quota.Take(time.Now())
	if !ok {
		return nil, false
	}
	attrs = []slog.Attr{slog.String("reason", why.String()), slog.String("remote", remote)}
	if unlogged > 0 {
		attrs = append(attrs, slog.Uint64("not_logged", unlogged))
	}
	return attrs, true
}
