package environ

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"patrol/cmd/patrol/internal/cli"
	"patrol/cmd/patrol/internal/control"
	"patrol/cmd/patrol/internal/session"
	"patrol/cmd/patrol/internal/state"
	"patrol/cmd/patrol/internal/target"
)

// Access is how agents get to the proxy.
type Access struct {
	Addr netip.AddrPort
	key  string // what they send as theirs

	// Closed is why it isn't certain that a patrol of ours has the address, "" if its
	// control socket says so.
	Closed string

	// needed is why keys that are set don't do, "" if they do: the proxy takes them off.
	needed string
}

// SignIn returns the changes that sign a process in, and where the proxy is. It says on
// stderr which keys that were set are replaced.
func SignIn(ctx context.Context, o cli.Options) (changes []Change, a Access, err error) {
	p, dir, err := session.Locate(o)
	if err == nil {
		err = p.MustExist()
	}
	if err != nil {
		return nil, a, err
	}
	if read, err := p.Read(); err == nil && !read.Exists {
		o.Complain("patrol: warning", fmt.Sprintf("there is no %s: Databricks tools will not find a token; to make it: patrol login --host https://…", p))
	}
	if a, err = findProxy(ctx, o, p, dir); err != nil {
		return nil, a, err
	}
	if a.Addr.Port() == 0 {
		return nil, a, cli.Usage("start it, or name its port", "--listen %s: no service runs that would say on which port it listens", a.Addr)
	}
	changes, replaced := changesFor(o.Env, p.Name, a)
	if len(replaced) > 0 {
		o.Complain("patrol: warning", fmt.Sprintf("%s: the value that was set is not used, but a key of patrol's, since %s", strings.Join(replaced, " and "), a.needed))
	}
	return changes, a, nil
}

// findProxy finds the profile's proxy. Only a control socket, whose owner the kernel
// names, says that an address is patrol's: anybody may listen on a port. What the user
// says counts, unless the port is to be chosen by the service; without that and without
// a service it is where that listened last, and where another profile's service has
// that, agents would be signed in as whoever that one is for.
func findProxy(ctx context.Context, o cli.Options, p target.Profile, dir string) (Access, error) {
	given := o.ListenGiven && o.Listen[0].Port() != 0
	service, err := control.DialProfile(ctx, p.Name, dir, control.Patience)
	switch {
	case cli.IsUsage(err):
		return Access{}, err
	case err == nil && (!given || service.ListensOn(o.Listen[0].AddrPort)):
		return accessTo(o, service.Ping, given)
	case err != nil && !errors.Is(err, control.ErrNoService):
		o.Complain("patrol: warning", err.Error())
	}
	a := Access{Addr: o.Listen[0].AddrPort, key: clientKey(dir)}
	if noted := state.ReadProxy(dir).Listen; !o.ListenGiven && len(noted) > 0 {
		a.Addr = noted[0]
	}
	switch other := control.PortHolder(ctx, o.Env, dir, a.Addr); {
	case other != nil && given:
		return accessTo(o, *other, true)
	case other != nil:
		return a, cli.Hinted(fmt.Errorf("no patrol runs for profile %s, and %s is the proxy of the one for profile %s (pid %d)", p.Name, a.Addr, other.Profile, other.PID),
			fmt.Sprintf("start one: patrol serve --profile %s --listen 127.0.0.1:4001; or, if that proxy is meant: --listen %s", cli.ShellWord(p.Name), a.Addr))
	case err == nil:
		a.Closed = fmt.Sprintf("no patrol of yours listens on %s: the one for profile %s listens on %s", a.Addr, p.Name, service.Addresses())
	default:
		a.Closed = fmt.Sprintf("no patrol of yours runs that would listen on %s; start it with: patrol serve", a.Addr)
	}
	a.needed, _, _ = strings.Cut(a.Closed, ";")
	return a, nil
}

// accessTo is the access to a service that runs: by the address that the user gave, or
// its first.
func accessTo(o cli.Options, service control.Ping, given bool) (a Access, err error) {
	a.key = clientKey(service.State)
	if a.Addr = o.Listen[0].AddrPort; !given {
		a.Addr, err = netip.ParseAddrPort(service.Listen[0])
	}
	switch {
	case service.KnowsOwner():
	case service.Network != "" && control.Network() != "":
		a.Closed = fmt.Sprintf("the patrol for profile %s runs in another network namespace: who listens on %s in this one isn't known", service.Profile, a.Addr)
		a.needed = a.Closed
	default:
		a.needed = "the proxy can't look up here which user a client belongs to"
	}
	return a, err
}

// dummyKey is what agents send, that refuse to start without a key, where no service has
// made one yet.
const dummyKey = "patrol"

// clientKey returns the client key that agents are given; it makes none.
func clientKey(dir string) string {
	if state.CheckPrivate(dir) != nil {
		return dummyKey // whose keys those are isn't known
	}
	if keys, err := state.ReadKeys(dir); err == nil {
		if key, ok := keys.Key(state.DefaultKey); ok {
			return key
		}
	}
	return dummyKey
}

// Await waits as long as atMost until the profile's service has a token that works
// and the profile holds it.
func Await(ctx context.Context, o cli.Options, atMost time.Duration) error {
	p, dir, err := session.Locate(o)
	if err != nil {
		return err
	}
	const pause = 50 * time.Millisecond
	bounded, cancel := context.WithTimeout(ctx, atMost)
	defer cancel()
	for {
		why := CheckSignedIn(bounded, p, dir)
		if why == nil || cli.IsUsage(why) {
			return why
		}
		select {
		case <-bounded.Done():
			if err := context.Cause(ctx); err != nil {
				return fmt.Errorf("waiting to be signed in: %w", err)
			}
			return fmt.Errorf("not signed in after %v: %w", atMost, why)
		case <-time.After(pause):
		}
	}
}

// CheckSignedIn says what is missing until a program that reads the profile is
// signed in.
func CheckSignedIn(ctx context.Context, p target.Profile, dir string) error {
	service, err := control.DialProfile(ctx, p.Name, dir, control.Patience)
	if err != nil {
		return err
	}
	token, err := service.Token(ctx)
	if err != nil {
		return err
	}
	read, err := p.Read()
	if err != nil {
		return err
	}
	if !read.Token.Same(token) {
		return fmt.Errorf("%s doesn't hold the current token yet", p)
	}
	return nil
}
