package cli

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
)

// Version describes this build from what the linker recorded, so that a plain
// "go build" tells the truth and no flag has to be remembered.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "(unknown build)"
	}
	return describeBuild(info) + fmt.Sprintf(" (%s %s/%s)", info.GoVersion, runtime.GOOS, runtime.GOARCH)
}

// UserAgent is what the workspace's log shows of us.
func UserAgent() string {
	version, _, _ := strings.Cut(Version(), " ")
	return "patrol/" + strings.Trim(version, "()")
}

// describeBuild names the version, or the commit where there is no version.
func describeBuild(info *debug.BuildInfo) string {
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	settings := map[string]string{}
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	revision := settings["vcs.revision"]
	if revision == "" {
		return "(devel)"
	}
	const enough = 12
	revision = revision[:min(enough, len(revision))]
	if settings["vcs.modified"] == "true" {
		revision += "+dirty"
	}
	return "(devel) " + revision
}
