package control

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"patrol/cmd/patrol/internal/cli"
	"patrol/cmd/patrol/internal/state"
)

// maxSocketPath is what a socket's path may be long. The kernels' limits are 104
// (macOS) and 108 bytes.
const maxSocketPath = 100

// SocketName is the socket's name in the state folder.
const SocketName = "control.sock"

// withSocketPath calls use with a path of a folder's control socket that the kernel
// takes. Where the folder's own is too long that leads through a link in a folder
// of our own, which is there as long as use runs.
func withSocketPath(stateDir string, use func(path string) error) error {
	if path := filepath.Join(stateDir, SocketName); len(path) <= maxSocketPath {
		return use(path)
	}
	dir, err := os.MkdirTemp("", "patrol-")
	if err != nil {
		return fmt.Errorf("making a shorter way to the control socket: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	link := filepath.Join(dir, "s")
	if err := os.Symlink(stateDir, link); err != nil {
		return fmt.Errorf("making a shorter way to the control socket: %w", err)
	}
	return use(filepath.Join(link, SocketName))
}

// removeStale removes a socket that nobody listens on, or the link to one that
// earlier versions made, and nothing else.
func removeStale(path string) error {
	if info, err := os.Lstat(path); err == nil && info.Mode()&(fs.ModeSocket|fs.ModeSymlink) == 0 {
		return cli.Hinted(fmt.Errorf("%s stands where the control socket belongs and is none", path),
			"move it away, or choose another folder with --state-dir")
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing an old control socket: %w", err)
	}
	return nil
}

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
