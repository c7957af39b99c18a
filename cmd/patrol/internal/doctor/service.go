package doctor

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"patrol/cmd/patrol/internal/cli"
	"patrol/cmd/patrol/internal/control"
	services "patrol/cmd/patrol/internal/service"
	"patrol/rotator"
	"patrol/rotator/pat"
)

// checkService: does it run, has it a token, does it fail at something?
func checkService(_ context.Context, in *input, f *findings) {
	s := in.service.status
	switch {
	case in.service.none():
		in.noService(f)
		return
	case in.service.client == nil:
		f.err("", in.service.err)
		return
	case s.NeedsLogin:
		f.fail("patrol login", "%s", s.Problem)
	case !s.Ready:
		f.fail("it goes on trying; its log says more", "%s", s.Problem)
	default:
		f.ok("pid %d, since %s, for %s", s.Service.PID, cli.When(s.Service.Since, time.Now()), s.Host)
	}
	if s.Service.Older() || s.Service.Version != cli.Version() {
		f.warn(control.StartAgain, "it runs patrol %s, and this is %s", s.Service.Version, cli.Version())
	}
	if s.Last.Error != "" {
		f.name = "rotation"
		f.fail("patrol rotate tries at once, and says what is wrong", "the last rotation failed: %s", s.Last.Error)
	}
	f.name = "files"
	for _, file := range s.Files {
		if file.Error != "" {
			f.fail("the service writes it as soon as it can", "the service can't write %s: %s", file.Path, file.Error)
		}
	}
}

// noService says that none runs for this profile, and for which others one does.
func (in *input) noService(f *findings) {
	others := in.service.others
	if len(others) == 0 {
		f.fail("start it: patrol serve", "no patrol runs for profile %s", in.profile.Name)
		return
	}
	var running []string
	for _, other := range others {
		running = append(running, fmt.Sprintf("profile %s (pid %d)", other.Profile, other.PID))
	}
	fix := fmt.Sprintf("patrol doctor --profile %s looks at that one; to run one for this profile too: %s", cli.ShellWord(others[0].Profile), in.serveBeside())
	if others[0].Profile == in.profile.Name {
		fix = "its state is in " + others[0].State + ": leave --state-dir and PATROL_STATE_DIR out to look at it"
	}
	f.fail(fix, "no patrol runs for profile %s, but for %s", in.profile.Name, strings.Join(running, ", "))
}

// checkSocket: is there one that nobody listens on, or that doesn't answer?
func checkSocket(_ context.Context, in *input, f *findings) {
	path, err := control.FindSocket(in.dir)
	switch {
	case in.service.client != nil:
		f.ok("%s", path)
	case !in.service.none():
		f.err("end the service and start it again", in.service.err)
	case err == nil && exists(path):
		f.warn("nothing is to be done: the next start replaces it", "%s is left over from a service that was killed", path)
	default:
		f.ok("none, as no service runs")
	}
}

// checkPorts: does the service's proxy answer? If none runs, is its port free?
func checkPorts(ctx context.Context, in *input, f *findings) {
	if in.service.client != nil {
		for _, addr := range in.service.client.Listen {
			checkProxy(ctx, f, "http://"+addr)
		}
		return
	}
	for _, l := range in.o.Listen {
		lns, err := services.Listen(ctx, []cli.ListenAddr{l})
		services.CloseAll(lns)
		holder := control.PortHolder(in.service.others, l.AddrPort)
		switch {
		case err == nil:
			f.ok("%s is free", l)
		case holder != nil:
			f.err("", control.PortHeld(l.AddrPort, holder))
		case !l.Optional:
			f.err("", err)
		}
	}
}

// checkProxy asks a proxy whether it is there.
func checkProxy(ctx context.Context, f *findings, base string) {
	status, err := get(ctx, http.DefaultTransport, base+"/healthz", pat.Token{})
	switch {
	case err != nil:
		f.fail("start the service again; its log says more", "the proxy on %s doesn't answer: %v", base, err)
	case status != http.StatusOK:
		f.fail("it lets in its own user only: run this as the one who runs the service", "the proxy on %s answers %d", base, status)
	default:
		f.ok("the proxy answers on %s", base)
	}
}

// checkSchedule: does a token live from one tick to the next?
func checkSchedule(_ context.Context, in *input, f *findings) {
	life := in.o.Lifetime
	if t := in.service.status.Token; t.Ours && !t.Created.IsZero() && !t.Expires.IsZero() {
		life = t.Expires.Sub(t.Created).Round(time.Second)
	}
	gap := rotator.LongestGap(in.o.Schedule, time.Now())
	if gap > rotator.UsableLife(life) {
		f.warn("rotate more often with --schedule, or raise --lifetime, up to what the workspace gives",
			"%q leaves up to %v between rotations, and tokens live %v: they are also rotated before they expire", in.o.CronSpec, gap, life)
		return
	}
	f.ok("%q rotates at least every %v; tokens live %v", in.o.CronSpec, gap, life)
}
