package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

func newVersion(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print the version",
		Long:    "Print the version of this binary, or the commit that it was built from, and the\nGo that built it.",
		Example: "  patrol version",
		Args:    noArgs,
		Run: func(*cobra.Command, []string) {
			a.printf("patrol %s\n", versionText())
		},
	}
}

// versionText describes this build from what the linker recorded, so that a
// plain "go build" tells the truth and no flag has to be remembered.
func versionText() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "(unknown build)"
	}
	return describeBuild(info) + fmt.Sprintf(" (%s %s/%s)", info.GoVersion, runtime.GOOS, runtime.GOARCH)
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
