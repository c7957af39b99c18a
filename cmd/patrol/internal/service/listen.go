package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"syscall"

	"patrol/cmd/patrol/internal/cli"
	"patrol/cmd/patrol/internal/control"
	"patrol/cmd/patrol/internal/session"
	"patrol/cmd/patrol/internal/state"
)

// Listen opens every address of --listen, or none. dir is our own state folder.
func Listen(ctx context.Context, o cli.Options, dir string, log *slog.Logger) ([]net.Listener, error) {
	var open []net.Listener
	told := false
	for rest := o.Listen; len(rest) > 0; {
		n := 1
		for n < len(rest) && rest[n].Optional {
			n++
		}
		lns, missing, failed, err := listenTogether(ctx, rest[:n])
		if err != nil {
			CloseAll(open)
			return nil, listenError(failed, control.PortHolder(ctx, o.Env, dir, failed), err)
		}
		if missing.IsValid() && !told {
			told = true
			log.Info("this machine has no such address: the proxy does without", "listen", missing)
		}
		open, rest = append(open, lns...), rest[n:]
	}
	return open, nil
}

// listenTogether opens addresses that go together, or none: an address that is optional
// and that this machine doesn't have is missing. Port 0 is the same free port for all
// of them. With an error it returns the address that failed.
func listenTogether(ctx context.Context, addrs []cli.ListenAddr) (lns []net.Listener, missing, failed netip.AddrPort, err error) {
	const tries = 10 // for a port that is free on each address
	var lc net.ListenConfig
	for range tries {
		lns = nil
		for _, a := range addrs {
			failed = a.AddrPort
			if failed.Port() == 0 && len(lns) > 0 {
				failed = netip.AddrPortFrom(failed.Addr(), addrOf(lns[0]).Port())
			}
			var ln net.Listener
			ln, err = lc.Listen(ctx, network(failed.Addr()), failed.String())
			if a.Optional && (errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.EAFNOSUPPORT)) {
				missing, err = failed, nil
				continue
			}
			if err != nil {
				break
			}
			lns = append(lns, ln)
		}
		if err == nil {
			return lns, missing, failed, nil
		}
		CloseAll(lns)
		if addrs[0].Port() != 0 || !errors.Is(err, syscall.EADDRINUSE) {
			break
		}
	}
	return nil, missing, failed, err
}

// network returns the network to listen on for an address. With "tcp" Go would take
// 0.0.0.0 for all addresses of IPv6 too.
func network(ip netip.Addr) string {
	if ip.Is4() {
		return "tcp4"
	}
	return "tcp"
}

// CloseAll closes listeners that nobody has used yet.
func CloseAll(lns []net.Listener) {
	for _, ln := range lns {
		_ = ln.Close()
	}
}

// noteProxy records in the state folder where the proxy listens: those are the addresses
// beside which no token stands in agents' files, whether patrol runs or not.
func noteProxy(open *session.Session, profile string, lns []net.Listener) state.Proxy {
	p := state.Proxy{Profile: profile}
	for _, ln := range lns {
		p.Listen = append(p.Listen, addrOf(ln))
	}
	if err := p.Write(open.Dir); err != nil {
		open.Log.Warn("where the proxy listens can't be noted: commands that run without this service go by what is noted there, or by --listen", "err", err)
	}
	return p
}

// addrOf returns where a listener listens.
func addrOf(ln net.Listener) netip.AddrPort { return netip.MustParseAddrPort(ln.Addr().String()) }

// whoListens is the command that tells on a system which process listens on a port.
func whoListens(system string, port uint16) string {
	if system == "linux" {
		return fmt.Sprintf("ss -ltnp 'sport = :%d'", port)
	}
	return fmt.Sprintf("lsof -nP -iTCP:%d -sTCP:LISTEN", port)
}

// listenError says why an address can't be listened on, and what to do about it.
// holder is another profile's service that has it, if one does.
func listenError(addr netip.AddrPort, holder *control.Ping, err error) error {
	switch {
	case holder != nil:
		return cli.Hinted(fmt.Errorf("listening on %s: it is the proxy of the patrol that runs for profile %s (pid %d)", addr, holder.Profile, holder.PID),
			"leave that service alone; one for another profile needs a port of its own: --listen 127.0.0.1:4001")
	case errors.Is(err, syscall.EADDRINUSE):
		return cli.Hinted(fmt.Errorf("listening on %s: the port is in use by another process", addr),
			"find it (as root if it may be another user's) and end it: "+whoListens(runtime.GOOS, addr.Port())+"; or choose another port: --listen 127.0.0.1:4001")
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return cli.Hinted(fmt.Errorf("listening on %s: this machine has no such address", addr),
			fmt.Sprintf("--listen 127.0.0.1:%d is this machine alone, 0.0.0.0:%d all its addresses", addr.Port(), addr.Port()))
	case errors.Is(err, syscall.EACCES):
		return cli.Hinted(fmt.Errorf("listening on %s: %w", addr, syscall.EACCES), "ports below 1024 are for root; choose a higher one")
	}
	return fmt.Errorf("listening on %s: %w", addr, err)
}
