package main

import (
	"bufio"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// oldUsage is the exit code of wrong usage in version 1, and Go's of a panic.
const oldUsage = "2"

// checkUnit: do the installed units of systemd know the exit code of wrong usage?
func checkUnit(_ context.Context, p *patient) []finding {
	const name = "unit"
	var found []finding
	for _, unit := range p.installedUnits() {
		files := append([]string{unit}, matches(unit+".d/*.conf")...)
		var wrong []finding
		for _, path := range files {
			wrong = append(wrong, oldExitStatus(name, path)...)
		}
		if wrong == nil {
			wrong = []finding{fine(name, "%s", unit)}
		}
		found = append(found, wrong...)
	}
	return found
}

// installedUnits returns the units of systemd that run patrol, wherever they may
// be installed by hand.
func (p *patient) installedUnits() (units []string) {
	config := p.app.getenv("XDG_CONFIG_HOME")
	if home, err := p.app.home(); err == nil && !filepath.IsAbs(config) {
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

// oldExitStatus finds the lines of a unit's file that name the exit code of
// version 1.
func oldExitStatus(name, path string) (found []finding) {
	f, err := os.Open(path)
	if err != nil {
		return nil // it isn't ours to read, or has gone meanwhile
	}
	defer func() { _ = f.Close() }()
	reload := "systemctl --user daemon-reload"
	if strings.HasPrefix(path, "/etc/systemd/system/") {
		reload = "systemctl daemon-reload"
	}
	now := strconv.Itoa(exitUsage)
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		key, value, _ := strings.Cut(line, "=")
		codes := strings.Fields(value)
		if strings.TrimSpace(key) != "RestartPreventExitStatus" || !slices.Contains(codes, oldUsage) {
			continue
		}
		codes = slices.DeleteFunc(codes, func(code string) bool { return code == oldUsage || code == now })
		right := "RestartPreventExitStatus=" + strings.Join(append([]string{now}, codes...), " ")
		found = append(found, failure(name, "make it: "+right+"; then: "+reload,
			"%s, line %d: %s; wrong usage exits with %s now, and %s is a crash, after which it should be started again", path, n, line, now, oldUsage))
	}
	return found
}
