// Package guard decides who may use the proxy. The proxy sends each request on
// with a token, so whoever passes the guard acts as the token's user.
//
// A request is let in if all of these hold:
//
//   - it asks for a path, not for another server (no absolute-form target, no
//     CONNECT);
//   - no web page made it: it has no Origin, no Sec-Fetch-Site but none, and is no
//     service worker's script, whatever the method. What a person types into a
//     browser's address bar reaches patrol's own pages only. Our own origin counts
//     like any other: a page or worker of it is what another program has left in the
//     browser that had our port before us;
//   - its Host is exactly one of ours: a web page that makes its own name point
//     to 127.0.0.1 still sends that name. Under a name of Config.AllowHosts, to which
//     browsers send no Sec-Fetch-Site, what calls itself a browser needs a key;
//   - its connection comes from this machine, and the kernel says that the client's
//     socket belongs to the user who runs patrol or to an allowed user. Where the
//     owner can't be known (another system than Linux, another network namespace,
//     another machine), the request must carry a client key instead, or, over
//     loopback, a token for which Config.Token speaks.
//
// A known other user is refused whatever he shows, and so is a client key that was
// revoked, whoever shows it. The kernel is asked once per connection. A client whose
// user is let in may send any other credential or none; its key only names it.
//
// Pages that tell nobody anything need no key: see Asked.
//
// The guard can't see whether a program that runs as the user passes on what others
// send to it (a forwarder, a shared notebook server): such a program lends them its
// rights. Some forwarders run as root (docker-proxy), so root is a user like any other.
package guard

import (
	"cmp"
	"context"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
)

// Config says who is let in besides the user who runs the process, who always is.
// The zero Config is fit for use.
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
	// least 16 characters that do what those of SetKeys do. Blank lines and lines
	// that start with # are skipped. It must belong to us or to root, and nobody else
	// may read it. It is read again when a credential is checked, once a second at
	// most; while it can't be read, none of its keys is valid.
	KeyFile string

	// Token says what the token with this pat.Hash is good for as a credential, where
	// the client's user can't be known and its connection is on loopback. It must be
	// quick and safe for concurrent use. Nil: no token is good for anything.
	Token func(hash string) TokenUse

	// NoOwners is for tests: the guard acts as on a system that doesn't tell who owns
	// a socket.
	NoOwners bool

	// MaxConns is how many connections may be open at a time through all
	// listeners of Limit together. 0: 4096, or fewer if the process may not open
	// two files for each. Clients that aren't let in by their user get half of
	// them, unless this system can't tell users apart.
	MaxConns int

	// Log receives refusals, at most a few a minute for each reason. Nil:
	// discarded.
	Log *slog.Logger
}

// A TokenUse is what a token is good for as a client's credential.
type TokenUse int

// The zero TokenUse is that of what isn't a token of ours, or no longer.
const (
	TokenUseless  TokenUse = iota
	TokenReplaced          // not long ago: a running agent still has it, and should be started again
	TokenLive              // it is in use
)

// Asked says what a request is for. The proxy knows, by its path and method.
type Asked int

// What a request may be for.
const (
	Upstream Asked = iota // what is sent on with the token, and any page that isn't
	OwnPage               // a page of patrol's own: a person may look at it in a browser
	OpenPage              // an OwnPage that tells nothing but that patrol is there: it needs no key
	Probe                 // an OpenPage that supervisors ask for, by any name and as any user
)

// A Client is who made a request that is let in.
type Client struct {
	// Name is that of its client key; Unknown if what it sent is no key, and None if
	// it sent nothing.
	Name string

	// Stranger says that nothing tells who it is. It asks for an OpenPage or a Probe,
	// and no other is to be told more than they are for.
	Stranger bool
}

// Guard decides who may use the proxy. It is safe for concurrent use.
type Guard struct {
	log         *slog.Logger
	hosts       []string // that a request may name
	users       []uint32 // who are let in
	owners      *owners
	ownersKnown bool
	keyFile     *keyFile // nil: none
	keys        clientKeys
	tokenUse    func(hash string) TokenUse
	replaced    replacedTokens
	slots       chan struct{} // holds one element per open connection
	stats       map[reason]*reasonStats
}

// New returns a Guard, or an error that says which field of cfg is wrong. It reads
// KeyFile, if there is one.
func New(cfg Config) (*Guard, error) {
	g := &Guard{
		log: cfg.Log, tokenUse: cfg.Token,
		owners: newOwners(), ownersKnown: ownersKnown && !cfg.NoOwners, stats: newStats(),
	}
	g.SetKeys(nil, nil)
	if g.log == nil {
		g.log = slog.New(slog.DiscardHandler)
	}
	if g.tokenUse == nil {
		g.tokenUse = func(string) TokenUse { return TokenUseless }
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

// KnowsOwners reports whether a client of our own user is known to be one, and needs no
// key. In a user namespace where our id stands for others too, it isn't.
func (g *Guard) KnowsOwners() bool { return g.ownersKnown && g.owners.isUnique(uint32(os.Geteuid())) } //nolint:gosec // a uid is a uint32

// Close closes the socket over which the kernel is asked. Check still works
// afterwards, by reading /proc/net, which takes longer.
func (g *Guard) Close() error { return g.owners.close() }

// ConnContext is for http.Server.ConnContext. It hands the connection to the
// Check of its first request. That runs in the connection's own goroutine, so
// the goroutine that accepts connections never waits for the kernel.
func (g *Guard) ConnContext(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, peerKey{}, &peer{conn: c})
}

// Check says who made r if it is let in, and else why it isn't; that is counted and
// logged. It blocks only for the first request of a connection, usually for
// microseconds and at most for five seconds. A request whose connection didn't pass
// ConnContext needs a key.
func (g *Guard) Check(r *http.Request, asked Asked) (Client, *Refusal) {
	if r.URL.Host != "" || r.URL.Scheme != "" || r.Method == http.MethodConnect {
		return g.refuse(r, reasonTarget, nil, shown{})
	}
	if why := pageReason(r.Header, asked); why != "" {
		return g.refuse(r, why, nil, shown{})
	}
	host, ok := hostOf(r.Host)
	if !ok || !slices.Contains(g.hosts, host) {
		if asked == Probe && !isBrowser(r) {
			return Client{Name: None, Stranger: true}, nil
		}
		return g.refuse(r, reasonHost, nil, shown{})
	}
	by := g.shownIn(r.Header)
	if isBrowser(r) && !slices.Contains(loopbackHosts, host) && !by.isKey() {
		return g.refuse(r, reasonFetchSite, nil, by)
	}
	p, _ := r.Context().Value(peerKey{}).(*peer)
	class := g.classOf(p)
	why := g.judge(r, p, class, by)
	switch {
	case why == "":
		by.count()
		return Client{Name: by.name()}, nil
	case asked == Probe, asked == OpenPage && class != peerForeign && class != peerGone:
		return Client{Name: None, Stranger: true}, nil
	}
	return g.refuse(r, why, p, by)
}

// judge returns why a client of this class, which has shown these credentials, isn't
// let in; "" if it is.
func (g *Guard) judge(r *http.Request, p *peer, class peerClass, by shown) reason {
	switch {
	case class == peerForeign:
		return reasonForeign
	case class == peerGone:
		return reasonGone
	case by.revoked != "" && !by.isKey():
		return reasonRevoked
	case class == peerAllowed, by.isKey():
		return ""
	case class == peerRemote:
		return reasonRemote
	case p.onLoopback() && g.hasToken(r):
		return ""
	}
	return reasonUnknown
}
