package control

import (
	"cmp"
	"context"
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

// PortHolder returns which of the neighbors has an address that can't be listened
// on, nil if none.
func PortHolder(ctx context.Context, env cli.Env, dir string, addr netip.AddrPort) *Ping {
	for _, p := range Neighbors(ctx, env, dir) {
		for _, l := range p.Listen {
			ln, err := netip.ParseAddrPort(l)
			if err == nil && addr.Port() != 0 && (cli.Reaches(addr, ln) || cli.Reaches(ln, addr)) {
				return &p
			}
		}
	}
	return nil
}
