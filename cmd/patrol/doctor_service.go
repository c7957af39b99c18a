package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"patrol/credwriter"
	"patrol/rotator"
	"patrol/rotator/pat"
)

// checkService: does it run, has it a token, does it fail at something?
func checkService(_ context.Context, p *patient) []finding {
	const name = "service"
	if p.running == nil {
		if errors.Is(p.serviceErr, errNoService) {
			return []finding{p.noService(name)}
		}
		return []finding{failed(name, "", p.serviceErr)}
	}
	s := p.status
	var found []finding
	switch {
	case s.NeedsLogin:
		found = append(found, failure(name, "patrol login", "%s", s.Problem))
	case !s.Ready:
		found = append(found, failure(name, "it goes on trying; its log says more", "%s", s.Problem))
	default:
		found = append(found, fine(name, "pid %d, since %s, for %s", s.Service.PID, when(s.Service.Since, time.Now()), s.Host))
	}
	if s.Service.Version != versionText() {
		found = append(found, warning(name, "start it again, to have it run what is installed",
			"it runs patrol %s, and this is %s", s.Service.Version, versionText()))
	}
	if s.Last.Error != "" {
		found = append(found, failure("rotation", "patrol rotate tries at once, and says what is wrong", "the last rotation failed: %s", s.Last.Error))
	}
	for _, f := range s.Files {
		if f.Error != "" {
			found = append(found, failure("files", "the service writes it as soon as it can", "the service can't write %s: %s", f.Path, f.Error))
		}
	}
	return found
}

// noService says that none runs for this profile, and for which others one does.
func (p *patient) noService(name string) finding {
	if len(p.others) == 0 {
		return failure(name, "start it: patrol serve", "no patrol runs for profile %s", p.selection.name)
	}
	var running []string
	for _, other := range p.others {
		running = append(running, fmt.Sprintf("profile %s (pid %d)", other.Profile, other.PID))
	}
	mend := fmt.Sprintf("patrol doctor --profile %s looks at that one; to run one for this profile too: %s",
		argument(p.others[0].Profile), p.serveBeside())
	if p.others[0].Profile == p.selection.name {
		mend = "its state is in " + p.others[0].State + ": leave --state-dir and PATROL_STATE_DIR out to look at it"
	}
	return failure(name, mend, "no patrol runs for profile %s, but for %s", p.selection.name, strings.Join(running, ", "))
}

// serveBeside is the command for a service beside those of other profiles.
func (p *patient) serveBeside() string {
	return fmt.Sprintf("patrol serve --profile %s --listen 127.0.0.1:4001", argument(p.selection.name))
}

// misled reports whether a setting in the file, and nothing that the user said,
// picks this profile, while a patrol runs for another and none for this.
func (p *patient) misled() bool {
	if len(p.others) == 0 || !errors.Is(p.serviceErr, errNoService) || p.selection.from != "" || p.selection.name == "DEFAULT" {
		return false
	}
	read, err := credwriter.ReadProfile(p.selection.file, "")
	return err == nil && read.Name == p.selection.name
}

// login is what to do where there is no token that works.
func (p *patient) login() string {
	if p.misled() {
		return "see default; or, for a patrol of its own: patrol login"
	}
	if p.host == "" && p.profile.Host == "" {
		return "patrol login --host https://…"
	}
	return "patrol login"
}

// checkSocket: is there one that nobody listens on, or that doesn't answer?
func checkSocket(_ context.Context, p *patient) []finding {
	const name = "socket"
	path, err := findSocket(p.dir)
	switch {
	case p.running != nil:
		return []finding{fine(name, "%s", path)}
	case !errors.Is(p.serviceErr, errNoService):
		return []finding{failed(name, "end the service and start it again", p.serviceErr)}
	case err == nil && exists(path):
		return []finding{warning(name, "nothing is to be done: the next start replaces it", "%s is left over from a service that was killed", path)}
	}
	return []finding{fine(name, "none, as no service runs")}
}

// checkState: is the state folder ours alone, and the ledger whole and writable?
func checkState(_ context.Context, p *patient) []finding {
	const name = "state"
	if err := p.status.Ledger; err != "" {
		return []finding{failure(name, "mend that (free the disk, or make "+p.dir+" writable for the user who runs patrol): the service then writes it by itself; "+
			"don't end it before, or it forgets which tokens it still has to revoke", "the ledger can't be written: %s", err)}
	}
	if !exists(p.dir) {
		return []finding{fine(name, "%s: not made yet", p.dir)}
	}
	if err := checkPrivateDir(p.dir); err != nil {
		return []finding{failed(name, "", err)}
	}
	if err := tryFolder(p.dir); err != nil {
		return []finding{failure(name, "free the disk, or make the folder writable for the user who runs patrol; --state-dir names another",
			"the ledger can't be written: %v", err)}
	}
	if p.ledgerErr != nil {
		mend := ""
		if errors.Is(p.ledgerErr, fs.ErrPermission) {
			mend = "it must be readable to the user who runs patrol"
		}
		return []finding{failed(name, mend, p.ledgerErr)}
	}
	var found []finding
	entries, err := os.ReadDir(p.dir)
	if err != nil {
		return []finding{failed(name, "", fmt.Errorf("reading the state folder: %w", err))}
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			continue // gone meanwhile
		}
		path := filepath.Join(p.dir, e.Name())
		switch _, owned := ownerOf(info); {
		case strings.Contains(e.Name(), ".corrupt-"):
			found = append(found, warning(name, "look at the disk; then delete that file", "a ledger was corrupt, and set aside as %s", path))
		case owned && info.Mode().IsRegular() && info.Mode().Perm()&0o077 != 0:
			found = append(found, failure(name, "chmod 600 "+path, "%s is open to others (mode %04o)", path, info.Mode().Perm()))
		}
	}
	if found == nil {
		known, alive := 0, 0
		for _, e := range p.entries {
			if e.ID != "" {
				known++
			}
			if !e.Stage.Ended() {
				alive++
			}
		}
		found = append(found, fine(name, "the ledger in %s can be written; it knows %d tokens, %d of them in use or still to be revoked", p.dir, known, alive))
	}
	return found
}

// tryFolder writes a file into a folder and takes it away.
func tryFolder(dir string) error {
	f, err := os.CreateTemp(dir, ".doctor-")
	if err != nil {
		return err
	}
	_, err = f.WriteString("patrol doctor was here\n")
	return errors.Join(err, f.Close(), os.Remove(f.Name()))
}

// checkPorts: does the service's proxy answer? If none runs, is its port free?
func checkPorts(ctx context.Context, p *patient) []finding {
	const name = "port"
	var found []finding
	if p.running != nil {
		for _, addr := range p.status.Service.Listen {
			found = append(found, checkProxy(ctx, name, "http://"+addr))
		}
		return found
	}
	var lc net.ListenConfig
	for _, l := range p.o.listen {
		ln, err := lc.Listen(ctx, "tcp", l.addr.String())
		switch {
		case err == nil:
			_ = ln.Close() // nobody has used it
			found = append(found, fine(name, "%s is free", l.addr))
		case holdsPort(p.others, l.addr) != nil:
			found = append(found, failed(name, "", portHeld(l.addr, holdsPort(p.others, l.addr))))
		case !l.optional:
			found = append(found, failed(name, "", listenError(l.addr, err)))
		}
	}
	return found
}

// checkProxy asks a proxy whether it is there.
func checkProxy(ctx context.Context, name, base string) finding {
	mend := "start the service again; its log says more"
	status, err := get(ctx, nil, base+"/healthz", pat.Token{})
	switch {
	case err != nil:
		return failure(name, mend, "the proxy on %s doesn't answer: %v", base, err)
	case status != http.StatusOK:
		return failure(name, "it lets in its own user only: run this as the one who runs the service", "the proxy on %s answers %d", base, status)
	}
	return fine(name, "the proxy answers on %s", base)
}

// checkSchedule: does a token live from one tick to the next?
func checkSchedule(_ context.Context, p *patient) []finding {
	const name = "schedule"
	life := p.o.lifetime
	if t := p.status.Token; t.Ours && !t.Created.IsZero() && !t.Expires.IsZero() {
		life = t.Expires.Sub(t.Created).Round(time.Second)
	}
	gap := rotator.LongestGap(p.o.schedule, time.Now())
	if gap > rotator.UsableLife(life) {
		return []finding{warning(name, "rotate more often with --schedule, or raise --lifetime, up to what the workspace gives",
			"%q leaves up to %v between rotations, and tokens live %v: they are also rotated before they expire", p.o.cronSpec, gap, life)}
	}
	return []finding{fine(name, "%q rotates at least every %v; tokens live %v", p.o.cronSpec, gap, life)}
}

// isOurs reports whether a URL leads to the proxy.
func (p *patient) isOurs(host string) bool {
	addr, err := netip.ParseAddrPort(strings.Replace(host, "localhost", "127.0.0.1", 1))
	if err != nil {
		return false
	}
	if p.running != nil {
		return slices.ContainsFunc(p.status.Service.Listen, func(l string) bool {
			ln, err := netip.ParseAddrPort(l)
			return err == nil && reaches(addr, ln)
		})
	}
	return slices.ContainsFunc(p.o.listen, func(l listenAddr) bool { return reaches(addr, l.addr) })
}
