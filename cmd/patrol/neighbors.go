package main

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// neighbors returns the services of this user that run with other state folders
// than dir, sorted by their profiles. One that doesn't answer within patience is
// left out.
func (a *app) neighbors(ctx context.Context, dir string, patience time.Duration) []ping {
	own, err := a.stateDir(options{}, "DEFAULT")
	if err != nil {
		return nil
	}
	base := filepath.Dir(own)
	entries, err := os.ReadDir(base)
	if err != nil {
		return nil // no patrol has run here
	}
	var mu sync.Mutex
	var found []ping
	var all sync.WaitGroup
	for _, e := range entries {
		other := filepath.Join(base, e.Name())
		if other == dir {
			continue
		}
		all.Go(func() {
			c, err := dialControl(ctx, other, patience)
			if err != nil {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			found = append(found, c.info)
		})
	}
	all.Wait()
	slices.SortFunc(found, func(p, q ping) int { return cmp.Compare(p.Profile, q.Profile) })
	return found
}

// holdsPort returns which of the services has an address that can't be listened
// on, nil if none.
func holdsPort(all []ping, addr netip.AddrPort) *ping {
	i := slices.IndexFunc(all, func(p ping) bool {
		return slices.ContainsFunc(p.Listen, func(l string) bool {
			ln, err := netip.ParseAddrPort(l)
			return err == nil && addr.Port() != 0 && (reaches(addr, ln) || reaches(ln, addr))
		})
	})
	if i < 0 {
		return nil
	}
	return &all[i]
}

// ownPort is what to do where another profile's service has the port.
const ownPort = "leave that service alone; one for another profile needs a port of its own: --listen 127.0.0.1:4001"

// portHeld says that another profile's service has a port.
func portHeld(addr netip.AddrPort, p *ping) error {
	return hinted(fmt.Errorf("listening on %s: it is the proxy of the patrol that runs for profile %s (pid %d)", addr, p.Profile, p.PID), ownPort)
}

// portTaken is why an address of ours could not be listened on: err, unless it is
// another profile's service that has it.
func (a *app) portTaken(ctx context.Context, o options, dir string, err error) error {
	all := a.neighbors(ctx, dir, dialPatience)
	for _, l := range o.listen {
		if p := holdsPort(all, l.addr); p != nil {
			return portHeld(l.addr, p)
		}
	}
	return err
}

// argument writes a name as it is typed in a shell.
func argument(name string) string {
	if name != "" && strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.@/") == "" {
		return name
	}
	return "'" + strings.ReplaceAll(name, "'", `'\''`) + "'"
}
