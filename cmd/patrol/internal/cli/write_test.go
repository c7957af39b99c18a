package cli

import (
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestParseWriteList(t *testing.T) {
	home := func() (string, error) { return "/home/me", nil }
	here, err := filepath.Abs(".env")
	if err != nil {
		t.Fatal(err)
	}
	claude, openCode := WriteFile{Format: "claude"}, WriteFile{Format: "opencode"}
	for list, want := range map[string]WriteFlag{
		"auto":                                   {Files: []WriteFile{claude, openCode}},
		"databrickscfg":                          {Create: true},
		"claude,databrickscfg":                   {Files: []WriteFile{claude}, Create: true},
		"databrickscfg,opencode,claude,opencode": {Files: []WriteFile{openCode, claude}, Create: true},
		"databrickscfg,databrickscfg":            {Create: true},
		"databrickscfg,dotenv:.env:TOKEN":        {Files: []WriteFile{{Format: "dotenv", Path: here, Variable: "TOKEN"}}, Create: true},
		"databrickscfg,dotenv:~/a:b/.env:TOKEN,dotenv:/e:T_2": {Files: []WriteFile{
			{Format: "dotenv", Path: "/home/me/a:b/.env", Variable: "TOKEN"},
			{Format: "dotenv", Path: "/e", Variable: "T_2"},
		}, Create: true},
		"file:~/t,databrickscfg,file:/run/a:b": {Files: []WriteFile{{Format: "file", Path: "/home/me/t"}, {Format: "file", Path: "/run/a:b"}}, Create: true},
	} {
		if got, err := parseWriteList(strings.Split(list, ","), home); !reflect.DeepEqual(got, want) || err != nil {
			t.Errorf("parseWriteList(%q) = %+v, %v; want %+v", list, got, err, want)
		}
	}
	const unknown = " isn't a file that patrol writes: use auto, or a list of databrickscfg, claude, opencode, dotenv:PATH:NAME and file:PATH"
	for list, want := range map[string]string{
		"claude":                            `"claude" leaves out databrickscfg, where a restart finds its token: use databrickscfg,claude`,
		"databrickscfg,pi":                  `"pi"` + unknown,
		"databrickscfg,auto":                `"databrickscfg,auto": auto stands alone, or name the files: databrickscfg,claude,opencode`,
		"databrickscfg,claude:/x":           `"claude:/x"` + unknown,
		"databrickscfg,dotenv":              `"dotenv" needs the name of a variable: dotenv:PATH:NAME`,
		"databrickscfg,dotenv:/x":           `"dotenv:/x" needs the name of a variable: dotenv:PATH:NAME`,
		"databrickscfg,dotenv:/x:A-B":       `"dotenv:/x:A-B" needs the name of a variable: dotenv:PATH:NAME`,
		"databrickscfg,dotenv::TOKEN":       `"dotenv::TOKEN" has no path: use dotenv:PATH:NAME or file:PATH`,
		"databrickscfg,file:":               `"file:" has no path: use dotenv:PATH:NAME or file:PATH`,
		"databrickscfg,dotenv:/x:A:file:/y": `"dotenv:/x:A:file:/y" needs the name of a variable: dotenv:PATH:NAME`,
	} {
		if got, err := parseWriteList(strings.Split(list, ","), home); err == nil || err.Error() != want || !reflect.DeepEqual(got, WriteFlag{}) {
			t.Errorf("parseWriteList(%q) = %+v, %v", list, got, err)
		}
	}
}
