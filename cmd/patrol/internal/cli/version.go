package cli

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
)

// Version describes this build: the version, or the commit where there is none, as
// Go has recorded it.
func Version() string {
	return fmt.Sprintf("%s (%s %s/%s)", buildVersion(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

// UserAgent is what the workspace's log shows of us.
func UserAgent() string { return "patrol/" + strings.Trim(buildVersion(), "()") }

func buildVersion() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}
