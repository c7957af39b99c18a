package cli

import (
	"reflect"
	"testing"
)

func TestParseWriteList(t *testing.T) {
	for list, want := range map[string]WriteFlag{
		"auto":                                   {Agents: []string{"claude", "opencode"}},
		"databrickscfg":                          {Create: true},
		"claude, databrickscfg":                  {Agents: []string{"claude"}, Create: true},
		"databrickscfg,opencode,claude,opencode": {Agents: []string{"opencode", "claude"}, Create: true},
		" databrickscfg , databrickscfg":         {Create: true},
	} {
		if got, err := parseWriteList(list); !reflect.DeepEqual(got, want) || err != nil {
			t.Errorf("parseWriteList(%q) = %+v, %v; want %+v", list, got, err, want)
		}
	}
	for list, want := range map[string]string{
		"":                   `"" isn't a file that patrol writes: use auto, or a list of databrickscfg, claude and opencode`,
		"claude":             `"claude" leaves out databrickscfg, where a restart finds its token: use databrickscfg,claude`,
		"databrickscfg,pi":   `"pi" isn't a file that patrol writes: use auto, or a list of databrickscfg, claude and opencode`,
		"databrickscfg,auto": `"databrickscfg,auto": auto stands alone, or name the files: databrickscfg,claude,opencode`,
		"databrickscfg,":     `"" isn't a file that patrol writes: use auto, or a list of databrickscfg, claude and opencode`,
	} {
		if got, err := parseWriteList(list); err == nil || err.Error() != want || !reflect.DeepEqual(got, WriteFlag{}) {
			t.Errorf("parseWriteList(%q) = %+v, %v", list, got, err)
		}
	}
}
