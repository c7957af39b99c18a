package cli

import (
	"runtime/debug"
	"testing"
)

func TestDescribeBuild(t *testing.T) {
	revision := debug.BuildSetting{Key: "vcs.revision", Value: "0123456789abcdef0123"}
	dirty := debug.BuildSetting{Key: "vcs.modified", Value: "true"}
	tests := []struct {
		version  string
		settings []debug.BuildSetting
		want     string
	}{
		{"v1.2.3", []debug.BuildSetting{revision}, "v1.2.3"},
		{"(devel)", []debug.BuildSetting{revision}, "(devel) 0123456789ab"},
		{"", []debug.BuildSetting{revision, dirty}, "(devel) 0123456789ab+dirty"},
		{"", nil, "(devel)"},
		{"", []debug.BuildSetting{{Key: "vcs.revision", Value: "0123"}}, "(devel) 0123"},
	}
	for _, tt := range tests {
		info := &debug.BuildInfo{Settings: tt.settings}
		info.Main.Version = tt.version
		if got := describeBuild(info); got != tt.want {
			t.Errorf("%+v: %q, want %q", tt, got, tt.want)
		}
	}
}
