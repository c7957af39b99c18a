// Package guard decides who may use the proxy. What passes the proxy leaves
// it with a token, so whoever passes the guard acts as the token's user.
//
// A request is let in if all of these hold:
//
//   - it asks for a path, not for another server (no absolute-form target, no
//     CONNECT);
//   - its Host is one of ours, exactly: a page that rebinds its own name to
//     127.0.0.1 still sends that name;
//   - no web page of another origin made it: no foreign Origin, no
//     Sec-Fetch-Site but same-origin or none, whatever the method;
//   - its connection comes from this machine, and the kernel says that the
//     client's socket belongs to the user who runs patrol, to root or to an
//     allowed user. Where the owner can't be known (another system than
//     Linux, another network namespace, another machine), the request must
//     carry a credential instead: one that the ledger knows, or a client key.
//
// The kernel is asked once per connection. A client may hold any token, a
// stale one or none: on its own machine, its user is its credential.
//
// What the guard can't see: a program that runs as root or as the user and
// passes on what others send to it (a forwarder, a shared notebook server)
// lends them its rights.
package guard

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
)

// Config says who is let in besides the user who runs the process and root,
// who always are. The zero Config is fit for use.
type Config struct {
	// AllowUsers are further users whose sockets are let in, each a name or a
	// numeric user id. An error of New where owners can't be known.
	AllowUsers []string

	// AllowHosts are further names (or IP addresses) that a request's Host may
	// have besides localhost, 127.0.0.1 and [::1], without port or scheme. Any
	// port goes with each.
	AllowHosts []string

	// ClientKeys are secrets of at least 16 characters that let in clients
	// whose user can't be known.
	ClientKeys []string

	// KeyFile, if not "", is a file with more of them: one per line, blank
	// lines and lines that start with # apart. Nobody but its owner, us or
	// root, may read it. It is read again once a second at most, when a
	// credential is checked; while it can't be read, none of its keys is valid.
	KeyFile string

	// Known reports whether the ledger knows a token with this pat.Hash,
	// retired ones included. It must be quick and safe for concurrent use.
	// Nil: none is known.
	Known func(hash string) bool

	// MaxConns is the number of connections that may be open through all
	// listeners of Limit together. 0: 4096, or fewer where the process may not
	// open twice as many files. Clients that need a credential get half of
	// them, except where every client needs one.
	MaxConns int

	// Log receives refusals, at most a few a minute for each reason. Nil:
	// discarded.
	Log *slog.Logger
}

// Guard decides who may use the proxy. It is safe for concurrent use.
type Guard struct {
	log           *slog.Logger
	hosts         map[string]struct{}
	hostList      string // the names in hosts, for people
	users         map[uint32]struct{}
	userList      string // the ids in users, for people
	owners        *owners
	keyHashes     [][sha256.Size]byte
	keyFile       *keyFile // nil: none
	knownToLedger func(string) bool
	slots         chan struct{} // one per open connection
	stats         reasonStats
}

// New returns a Guard, or an error that says which part of cfg is wrong.
func New(cfg Config) (*Guard, error) {
	g := &Guard{log: cfg.Log, knownToLedger: cfg.Known, owners: newOwners()}
	if g.log == nil {
		g.log = slog.New(slog.DiscardHandler)
	}
	if g.knownToLedger == nil {
		g.knownToLedger = func(string) bool { return false }
	}
	var err error
	if g.hosts, g.hostList, err = allowedHosts(cfg.AllowHosts); err != nil {
		return nil, err
	}
	if g.users, g.userList, err = allowedUsers(cfg.AllowUsers); err != nil {
		return nil, err
	}
	g.owners.warnOfOverflow(g.log, g.users)
	for i, key := range cfg.ClientKeys {
		if err := checkKey(key); err != nil {
			return nil, fmt.Errorf("client key %d: %w", i+1, err)
		}
		g.keyHashes = append(g.keyHashes, sha256.Sum256([]byte(key)))
	}
	if cfg.KeyFile != "" {
		if g.keyFile, err = openKeyFile(cfg.KeyFile, g.log); err != nil {
			return nil, err
		}
	}
	switch {
	case cfg.MaxConns < 0:
		return nil, errors.New("the connection limit must not be negative")
	case cfg.MaxConns == 0:
		cfg.MaxConns = defaultMaxConns()
	}
	g.slots = make(chan struct{}, cfg.MaxConns)
	return g, nil
}

// Close frees what the Guard holds open. Requests that are checked later are
// still judged, at greater cost.
func (g *Guard) Close() error { return g.owners.close() }

// ConnContext is for http.Server.ConnContext. It keeps the connection for the
// first request's Check, which runs in the connection's own goroutine: the
// accepting one never waits for the kernel's answer.
func (g *Guard) ConnContext(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, peerKey{}, &peer{conn: c})
}

// Check returns nil if r is let in. It blocks for the first request of a
// connection only, usually for microseconds and for five seconds at most. A
// request whose connection didn't pass ConnContext needs a credential.
func (g *Guard) Check(r *http.Request) *Refusal {
	if r.URL.Host != "" || r.URL.Scheme != "" || r.Method == http.MethodConnect {
		return g.refuse(r, reasonTarget, nil)
	}
	host, ok := hostOf(r.Host)
	if !ok || !g.allowsHost(host) {
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
	switch g.classOf(p) {
	case peerAllowed:
		return nil
	case peerForeign:
		return g.refuse(r, reasonForeign, p)
	case peerGone:
		return g.refuse(r, reasonGone, p)
	case peerRemote:
		if g.hasValidCredential(r.Header) {
			return nil
		}
		return g.refuse(r, reasonRemote, p)
	default:
		if g.hasValidCredential(r.Header) {
			return nil
		}
		return g.refuse(r, reasonUnknown, p)
	}
}
