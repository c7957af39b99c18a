package doctor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"patrol/cmd/patrol/internal/cli"
	"patrol/cmd/patrol/internal/control"
	"patrol/cmd/patrol/internal/service"
	"patrol/rotator/pat"
)

// checkService: does it run, has it a token, does it fail at something?
func checkService(_ context.Context, in *input, f *findings) {
	s := in.service.status
	switch {
	case errors.Is(in.service.err, control.ErrNoService):
		in.noService(f)
		return
	case in.service.err != nil:
		f.fail(cmp.Or(cli.HintOf(in.service.err), "end the service and start it again"), "%v", in.service.err)
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
	if p := s.Proxy; p != nil && !p.ReplacedTokenAt.IsZero() {
		f.name = "old token"
		f.warn("restart that agent: patrol serve's log has its address", "an agent still sends a token that was replaced, the last time %s", cli.When(p.ReplacedTokenAt, time.Now()))
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
	other, name := others[0], cli.ShellWord(in.profile.Name)
	fix := fmt.Sprintf("patrol doctor --profile %s looks at that one; to run one for this profile too: patrol serve --profile %s --listen 127.0.0.1:4001", cli.ShellWord(other.Profile), name)
	switch {
	case other.Profile == in.profile.Name:
		fix = "its state is in " + other.State + ": leave --state-dir and PATROL_STATE_DIR out to look at it"
	case in.profile.From == "" && name != "DEFAULT":
		fix = fmt.Sprintf("if %s is meant, take default_profile = %s in [__settings__] of %s out: tools that aren't told a profile use that one; else ", other.Profile, name, in.profile.File) + fix
	}
	f.fail(fix, "no patrol runs for profile %s, but for %s", in.profile.Name, strings.Join(running, ", "))
}

// checkPorts: does the service's proxy answer? If none runs, is its port free?
func checkPorts(ctx context.Context, in *input, f *findings) {
	if in.service.status.Running {
		for _, l := range in.o.Listen {
			in.checkProxy(ctx, f, cli.ProxyURL(l.AddrPort))
		}
		return
	}
	lns, err := service.Listen(ctx, in.o, in.dir, slog.New(slog.DiscardHandler))
	if err != nil {
		f.err(err)
	}
	service.CloseAll(lns)
	for _, ln := range lns {
		f.ok("%s is free", ln.Addr())
	}
}

// checkProxy asks a proxy whether it is there.
func (in *input) checkProxy(ctx context.Context, f *findings, base string) {
	status, err := in.get(ctx, base, "healthz", pat.Token{})
	switch {
	case err != nil:
		f.fail("start the service again; its log says more", "the proxy on %s doesn't answer: %v", base, err)
	case status != http.StatusOK:
		f.fail("it lets in its own user only: run this as the one who runs the service", "the proxy on %s answers %d", base, status)
	default:
		f.ok("the proxy answers on %s", base)
	}
}

// checkUnits: do the installed units of systemd know the exit code of wrong usage?
func checkUnits(_ context.Context, in *input, f *findings) {
	config := in.o.Get("XDG_CONFIG_HOME")
	if home, err := in.o.Home(); err == nil && !filepath.IsAbs(config) {
		config = filepath.Join(home, ".config")
	}
	for _, dir := range []string{filepath.Join(config, "systemd", "user"), "/etc/systemd/user", "/etc/systemd/system"} {
		// A folder whose name makes a wrong pattern has none.
		units, _ := filepath.Glob(filepath.Join(dir, "patrol*.service"))
		dropIns, _ := filepath.Glob(filepath.Join(dir, "patrol*.service.d", "*.conf"))
		for _, path := range slices.Concat(units, dropIns) {
			checkExitStatus(f, path)
		}
	}
}

// oldExitStatus matches a line with the exit code of version 1, and what stands
// around that.
var oldExitStatus = regexp.MustCompile(fmt.Sprintf(`^(\s*RestartPreventExitStatus\s*=(?:.*\s)?)%d(\s.*|)$`, cli.ExitUsageBefore))

// checkExitStatus looks for such lines in a unit's file.
func checkExitStatus(f *findings, path string) {
	text, err := os.ReadFile(path)
	if err != nil {
		return // it isn't ours to read, or has gone meanwhile
	}
	reload := "systemctl --user daemon-reload"
	if strings.HasPrefix(path, "/etc/systemd/system/") {
		reload = "systemctl daemon-reload"
	}
	found := len(f.list)
	for i, line := range strings.Split(string(text), "\n") {
		right := oldExitStatus.ReplaceAllString(line, "${1}"+strconv.Itoa(cli.ExitUsage)+"$2")
		if right != line {
			f.fail("make it: "+right+"; then: "+reload, "%s, line %d: %s; wrong usage exits with %d now, and %d is a crash, after which it should be started again",
				path, i+1, line, cli.ExitUsage, cli.ExitUsageBefore)
		}
	}
	if len(f.list) == found {
		f.ok("%s", path)
	}
}
