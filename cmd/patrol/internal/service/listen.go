package service

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"patrol/cmd/patrol/internal/cli"
	"patrol/cmd/patrol/internal/control"
)

// Listen opens every address of --listen, or none. dir is our own state folder.
func Listen(ctx context.Context, o cli.Options, dir string) ([]net.Listener, error) {
	var open []net.Listener
	var lc net.ListenConfig
	for _, a := range o.Listen {
		ln, err := lc.Listen(ctx, "tcp", a.String())
		if err != nil && a.Optional && (errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.EAFNOSUPPORT)) {
			continue
		}
		if err != nil {
			CloseAll(open)
			holder := control.PortHolder(ctx, o.Env, dir, a.AddrPort)
			return nil, listenError(a.AddrPort, holder, err)
		}
		open = append(open, ln)
	}
	return open, nil
}

// CloseAll closes listeners that nobody has used yet.
func CloseAll(lns []net.Listener) {
	for _, ln := range lns {
		_ = ln.Close()
	}
}

// addrOf returns where a listener listens.
func addrOf(ln net.Listener) netip.AddrPort { return netip.MustParseAddrPort(ln.Addr().String()) }

// listenError says why an address can't be listened on, and what to do about it.
// holder is another profile's service that has it, if one does.
func listenError(addr netip.AddrPort, holder *control.Ping, err error) error {
	switch {
	case holder != nil:
		return cli.Hinted(fmt.Errorf("listening on %s: it is the proxy of the patrol that runs for profile %s (pid %d)", addr, holder.Profile, holder.PID),
			"leave that service alone; one for another profile needs a port of its own: --listen 127.0.0.1:4001")
	case errors.Is(err, syscall.EADDRINUSE):
		return cli.Hinted(fmt.Errorf("listening on %s: the port is in use by another process", addr),
			fmt.Sprintf("find it with lsof -i :%d, or ss -ltnp 'sport = :%d'; or choose another port: --listen 127.0.0.1:4001", addr.Port(), addr.Port()))
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return cli.Hinted(fmt.Errorf("listening on %s: this machine has no such address", addr),
			fmt.Sprintf("--listen 127.0.0.1:%d is this machine alone, 0.0.0.0:%d all its addresses", addr.Port(), addr.Port()))
	case errors.Is(err, syscall.EACCES):
		return cli.Hinted(fmt.Errorf("listening on %s: %w", addr, syscall.EACCES), "ports below 1024 are for root; choose a higher one")
	}
	return fmt.Errorf("listening on %s: %w", addr, err)
}
