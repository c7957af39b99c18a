package environ

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"time"

	"patrol/cmd/patrol/internal/cli"
	"patrol/cmd/patrol/internal/control"
	"patrol/cmd/patrol/internal/session"
	"patrol/cmd/patrol/internal/target"
)

// patience is how long a proxy on this machine may take to show that it is there.
const patience = 250 * time.Millisecond

// SignIn returns the changes that sign a process in, and the proxy's address.
func SignIn(ctx context.Context, o cli.Options) (changes []Change, addr netip.AddrPort, err error) {
	p, dir, err := session.Locate(o)
	if err == nil {
		err = p.MustExist()
	}
	if err != nil {
		return nil, addr, err
	}
	if read, err := p.Read(); err == nil && !read.Exists {
		o.Complain("patrol: warning", fmt.Sprintf("there is no %s: Databricks tools will not find a token; to make it: patrol login --host https://…", p))
	}
	if addr, err = proxyAddress(ctx, o, p, dir); err != nil {
		return nil, addr, err
	}
	if addr.Port() == 0 {
		return nil, addr, cli.Usage("start it, or name its port", "--listen %s: no service runs that would say on which port it listens", addr)
	}
	return changesFor(o.Env, p.Name, addr), addr, nil
}

// proxyAddress returns where the profile's proxy is: what the user says counts,
// unless it is to be chosen by the service. The default address is refused where
// another profile's service has it: agents would be signed in as whoever that is
// for.
func proxyAddress(ctx context.Context, o cli.Options, p target.Profile, dir string) (netip.AddrPort, error) {
	addr := o.Listen[0].AddrPort
	if o.ListenGiven && addr.Port() != 0 {
		return addr, nil
	}
	switch service, err := control.DialProfile(ctx, p.Name, dir, patience); {
	case cli.IsUsage(err):
		return addr, err
	case err == nil:
		return netip.ParseAddrPort(service.Listen[0])
	}
	if other := control.PortHolder(ctx, o.Env, dir, addr); other != nil {
		return addr, cli.Hinted(fmt.Errorf("no patrol runs for profile %s, and %s is the proxy of the one for profile %s (pid %d)", p.Name, addr, other.Profile, other.PID),
			fmt.Sprintf("start one: patrol serve --profile %s --listen 127.0.0.1:4001; or, if that proxy is meant: --listen %s", cli.ShellWord(p.Name), addr))
	}
	return addr, nil
}

// WarnIfClosed says that the proxy isn't there. It is no error: the command may
// not need it, or may start before it.
func WarnIfClosed(ctx context.Context, o cli.Options, addr netip.AddrPort) {
	d := net.Dialer{Timeout: patience}
	conn, err := d.DialContext(ctx, "tcp", addr.String())
	if err != nil {
		o.Complain("patrol: warning", fmt.Sprintf("nothing listens on %s; start it with: patrol serve", addr))
		return
	}
	_ = conn.Close()
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
