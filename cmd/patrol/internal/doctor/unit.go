package doctor

import (
	"bufio"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"patrol/cmd/patrol/internal/cli"
)

// checkUnit: do the installed units of systemd know the exit code of wrong usage?
func checkUnit(_ context.Context, in *input, f *findings) {
	for _, unit := range installedUnits(in.o.Env) {
		before := len(f.list)
		for _, path := range append([]string{unit}, matches(unit+".d/*.conf")...) {
			checkExitStatus(f, path)
		}
		if len(f.list) == before {
			f.ok("%s", unit)
		}
	}
}

// installedUnits returns the units of systemd that run patrol, wherever they may
// be installed by hand.
func installedUnits(env cli.Env) (units []string) {
	config := env.Get("XDG_CONFIG_HOME")
	if home, err := env.Home(); err == nil && !filepath.IsAbs(config) {
		config = filepath.Join(home, ".config")
	}
	for _, dir := range []string{filepath.Join(config, "systemd", "user"), "/etc/systemd/user", "/etc/systemd/system"} {
		units = append(units, matches(filepath.Join(dir, "patrol*.service"))...)
	}
	return units
}

// matches returns the paths that match a pattern; none if a folder's own name
// makes the pattern a wrong one.
func matches(pattern string) []string {
	paths, err := filepath.Glob(pattern)
	if err != nil {
		return nil
	}
	return paths
}

// checkExitStatus finds the lines of a unit's file that name the exit code of
// version 1.
func checkExitStatus(found *findings, path string) {
	f, err := os.Open(path)
	if err != nil {
		return // it isn't ours to read, or has gone meanwhile
	}
	defer func() { _ = f.Close() }()
	reload := "systemctl --user daemon-reload"
	if strings.HasPrefix(path, "/etc/systemd/system/") {
		reload = "systemctl daemon-reload"
	}
	before, now := strconv.Itoa(cli.ExitUsageBefore), strconv.Itoa(cli.ExitUsage)
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		key, value, _ := strings.Cut(line, "=")
		codes := strings.Fields(value)
		if strings.TrimSpace(key) != "RestartPreventExitStatus" || !slices.Contains(codes, before) {
			continue
		}
		codes = slices.DeleteFunc(codes, func(code string) bool { return code == before || code == now })
		right := "RestartPreventExitStatus=" + strings.Join(append([]string{now}, codes...), " ")
		found.fail("make it: "+right+"; then: "+reload,
			"%s, line %d: %s; wrong usage exits with %s now, and %s is a crash, after which it should be started again", path, n, line, now, before)
	}
}
