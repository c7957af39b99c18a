package control

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"time"

	"patrol/cmd/patrol/internal/cli"
	"patrol/cmd/patrol/internal/state"
)

// Neighbors returns the services of this user that run with other state folders
// than dir, sorted by their profiles. One that doesn't answer soon is left out.
func Neighbors(ctx context.Context, env cli.Env, dir string) (found []Ping) {
	base, err := state.Base(env)
	if err != nil {
		return nil
	}
	others, _ := filepath.Glob(filepath.Join(base, "*")) // none: no patrol has run here
	for _, other := range others {
		if other == dir {
			continue
		}
		if c, err := Dial(ctx, other, time.Second); err == nil {
			found = append(found, c.Ping)
		}
	}
	slices.SortFunc(found, func(p, q Ping) int { return cmp.Compare(p.Profile, q.Profile) })
	return found
}

// PortHolder returns which of the services has an address that can't be listened
// on, nil if none.
func PortHolder(all []Ping, addr netip.AddrPort) *Ping {
	for i, p := range all {
		if slices.ContainsFunc(p.Listen, func(l string) bool {
			ln, err := netip.ParseAddrPort(l)
			return err == nil && addr.Port() != 0 && (cli.Reaches(addr, ln) || cli.Reaches(ln, addr))
		}) {
			return &all[i]
		}
	}
	return nil
}

// PortHeld says that another profile's service has a port.
func PortHeld(addr netip.AddrPort, p *Ping) error {
	return cli.Hinted(fmt.Errorf("listening on %s: it is the proxy of the patrol that runs for profile %s (pid %d)", addr, p.Profile, p.PID),
		"leave that service alone; one for another profile needs a port of its own: --listen 127.0.0.1:4001")
}
