// Package guard decides who may use the proxy. The proxy sends each request on
// with a token, so whoever passes the guard acts as the token's user.
//
// A request is let in if all of these hold:
//
//   - it asks for a path, not for another server (no absolute-form target, no
//     CONNECT);
//   - its Host is exactly one of ours: a web page that makes its own name point
//     to 127.0.0.1 still sends that name;
//   - no web page of another origin made it: an Origin, if there is one, is our
//     own, and a Sec-Fetch-Site is same-origin or none, whatever the method.
//     Under a name of Config.AllowHosts, what calls itself a browser and sends
//     neither of them needs a credential;
//   - its connection comes from this machine, and the kernel says that the
//     client's socket belongs to the user who runs patrol, to root or to an
//     allowed user. Where the owner can't be known (another system than
//     Linux, another network namespace, another machine), the request must
//     carry a credential instead: one that the ledger knows, or a client key.
//
// The kernel is asked once per connection. A client whose user is let in may
// send any token, a stale one or none.
//
// The guard can't see whether a program that runs as root or as the user passes
// on what others send to it (a forwarder, a shared notebook server): such a
// program lends them its rights.
package guard

import (
	"cmp"
	"context"
	"log/slog"
	"net"
	"net/http"
	"slices"
)

// Config says who is let in besides the user who runs the process and root,
// who always are. The zero Config is fit for use.
type Config struct {
	// AllowUsers are further users whose clients are let in, each a name or a
	// numeric user id. Where the system doesn't tell who owns a socket, New
	// returns an error if there are any.
	AllowUsers []string

	// AllowHosts are names or IP addresses that a request's Host may have
	// besides localhost, 127.0.0.1 and [::1]. They are written without port and
	// scheme, and a request may have any port with them.
	AllowHosts []string

	// KeyFile, if not "", is a file with client keys, one per line: secrets of at
	// least 16 characters that let in clients whose user can't be known. Blank
	// lines and lines that start with # are skipped. It must belong to us or to
	// root, and nobody else may read it. It is read again when a credential is
	// checked, once a second at most; while it can't be read, none of its keys
	// is valid.
	KeyFile string

	// Known reports whether the ledger knows a token with this pat.Hash, even
	// a retired one. It must be quick and safe for concurrent use. Nil: no token
	// is known.
	Known func(hash string) bool

	// MaxConns is how many connections may be open at a time through all
	// listeners of Limit together. 0: 4096, or fewer if the process may not open
	// two files for each. Clients that aren't let in by their user get half of
	// them, unless this system can't tell users apart.
	MaxConns int

	// Log receives refusals, at most a few a minute for each reason. Nil:
	// discarded.
	Log *slog.Logger
}

// Guard decides who may use the proxy. It is safe for concurrent use.
type Guard struct {
	log           *slog.Logger
	hosts         []string // that a request may name
	users         []uint32 // who are let in
	owners        *owners
	keyFile       *keyFile // nil: none
	knownToLedger func(string) bool
	slots         chan struct{} // holds one element per open connection
	stats         map[reason]*reasonStats
}

// New returns a Guard, or an error that says which field of cfg is wrong. It reads
// KeyFile, if there is one.
func New(cfg Config) (*Guard, error) {
	g := &Guard{log: cfg.Log, knownToLedger: cfg.Known, owners: newOwners(), stats: newStats()}
	if g.log == nil {
		g.log = slog.New(slog.DiscardHandler)
	}
	if g.knownToLedger == nil {
		g.knownToLedger = func(string) bool { return false }
	}
	var err error
	if g.hosts, err = allowedHosts(cfg.AllowHosts); err != nil {
		return nil, err
	}
	if g.users, err = allowedUsers(cfg.AllowUsers); err != nil {
		return nil, err
	}
	g.owners.warnOfOverflow(g.log, g.users)
	if cfg.KeyFile != "" {
		if g.keyFile, err = openKeyFile(cfg.KeyFile, g.log); err != nil {
			return nil, err
		}
	}
	g.slots = make(chan struct{}, cmp.Or(cfg.MaxConns, defaultMaxConns()))
	return g, nil
}

// Close closes the socket over which the kernel is asked. Check still works
// afterwards, by reading /proc/net, which takes longer.
func (g *Guard) Close() error { return g.owners.close() }

// ConnContext is for http.Server.ConnContext. It hands the connection to the
// Check of its first request. That runs in the connection's own goroutine, so
// the goroutine that accepts connections never waits for the kernel.
func (g *Guard) ConnContext(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, peerKey{}, &peer{conn: c})
}

// Check returns nil if r is let in, and else why not; that is counted and logged.
// It blocks only for the first request of a connection, usually for microseconds
// and at most for five seconds. A request whose connection didn't pass
// ConnContext needs a credential.
func (g *Guard) Check(r *http.Request) *Refusal {
	if r.URL.Host != "" || r.URL.Scheme != "" || r.Method == http.MethodConnect {
		return g.refuse(r, reasonTarget, nil)
	}
	host, ok := hostOf(r.Host)
	if !ok || !slices.Contains(g.hosts, host) {
		return g.refuse(r, reasonHost, nil)
	}
	if origins := r.Header["Origin"]; len(origins) > 0 && !sameOrigin(origins, r.Host) {
		return g.refuse(r, reasonOrigin, nil)
	}
	if sites := r.Header["Sec-Fetch-Site"]; len(sites) > 0 && !fetchSiteAllowed(sites) {
		return g.refuse(r, reasonFetchSite, nil)
	}
	if maybeBrowser(r, host) && !g.hasValidCredential(r.Header) {
		return g.refuse(r, reasonFetchSite, nil)
	}
	p, _ := r.Context().Value(peerKey{}).(*peer)
	why := reasonUnknown
	switch g.classOf(p) {
	case peerAllowed:
		return nil
	case peerForeign:
		return g.refuse(r, reasonForeign, p)
	case peerGone:
		return g.refuse(r, reasonGone, p)
	case peerRemote:
		why = reasonRemote
	}
	if g.hasValidCredential(r.Header) {
		return nil
	}
	return g.refuse(r, why, p)
}
