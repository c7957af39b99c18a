package state

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"patrol/cmd/patrol/internal/cli"
)

// with is options with an environment and --state-dir.
func with(env cli.Env, dir string) cli.Options {
	return cli.Options{Process: cli.Process{Env: env}, StateDir: dir}
}

func TestDir(t *testing.T) {
	home := t.TempDir()
	a, xdg, relative := cli.Env{"HOME=" + home}, cli.Env{"HOME=" + home, "XDG_STATE_HOME=/xdg"}, cli.Env{"HOME=" + home, "XDG_STATE_HOME=xdg"}
	tests := []struct {
		env     cli.Env
		dir     string
		profile string
		want    string
	}{
		{a, "", "DEFAULT", home + "/.local/state/patrol/DEFAULT"},
		{a, "", "work", home + "/.local/state/patrol/work"},
		{xdg, "", "work", "/xdg/patrol/work"},
		{relative, "", "work", home + "/.local/state/patrol/work"},
		{xdg, "/mine", "work", "/mine"},
		{cli.Env{"XDG_STATE_HOME=/xdg"}, "", "x", "/xdg/patrol/x"},
		{nil, "/mine", "x", "/mine"},
	}
	for _, tt := range tests {
		if got, err := Dir(with(tt.env, tt.dir), tt.profile); err != nil || got != tt.want {
			t.Errorf("Dir = %q, %v; want %q", got, err, tt.want)
		}
	}
	if _, err := Dir(with(nil, ""), "x"); err == nil {
		t.Error("no HOME is no error")
	}
}

func TestFolderName(t *testing.T) {
	seen := map[string]string{}
	for _, profile := range []string{
		"DEFAULT", "default", "Default", "work", "Work", "WORK", "a/b", "a_b", "a b", "../../etc", "..", ".", "", ".hidden", "ü", "a\\b", "a:b",
		strings.Repeat("x", 64), strings.Repeat("x", 65), strings.Repeat("é", 300), "work-1.eu_x", "COM1", "trailing.",
	} {
		name := folderName(profile)
		if name != filepath.Base(filepath.Join("/x", name)) || strings.HasPrefix(name, ".") || len(name) > 64 {
			t.Errorf("%q becomes %q, which is no plain name", profile, name)
		}
		// Some file systems don't tell upper from lower case.
		if other, ok := seen[strings.ToLower(name)]; ok {
			t.Errorf("%q and %q share %q", profile, other, name)
		}
		seen[strings.ToLower(name)] = profile
	}
	for _, profile := range []string{"DEFAULT", "work", "work-1.eu_x"} {
		if got := folderName(profile); got != profile {
			t.Errorf("%q becomes %q", profile, got)
		}
	}
}

func TestMakePrivate(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, "a", "b")
	if err := MakePrivate(dir); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{dir, filepath.Dir(dir)} {
		if info, err := os.Stat(d); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v, %v", d, info.Mode(), err)
		}
	}
	if err := MakePrivate(dir); err != nil {
		t.Errorf("the second time: %v", err)
	}
	link := filepath.Join(root, "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	if err := MakePrivate(link); err != nil {
		t.Errorf("through a link: %v", err)
	}
}

func TestMakePrivateRefused(t *testing.T) {
	root := t.TempDir()
	open := filepath.Join(root, "open")
	file := filepath.Join(root, "file")
	foreign := filepath.Join(root, "foreign")
	for _, dir := range []string{open, foreign} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(open, 0o770); err != nil { //nolint:gosec // that is the mistake
		t.Fatal(err)
	}
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	tests := map[string]string{open: "open to others (mode 0770)", file: "making the folder", filepath.Join(file, "x"): "making the folder"}
	if os.Geteuid() == 0 {
		if err := os.Chown(foreign, 12345, 0); err != nil {
			t.Fatal(err)
		}
		tests[foreign] = "belongs to uid 12345"
	}
	for dir, says := range tests {
		err := MakePrivate(dir)
		if hint := cli.HintOf(err); err == nil || !strings.Contains(err.Error(), says) || !strings.Contains(hint, "--state-dir") {
			t.Errorf("%s: %v (%s)", dir, err, hint)
		}
	}
	if info, err := os.Stat(open); err != nil || info.Mode().Perm() != 0o770 {
		t.Errorf("the mode of a folder that isn't ours to change was changed: %v, %v", info.Mode(), err)
	}
}
