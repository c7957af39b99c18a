package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestStateDir(t *testing.T) {
	a := newApp(t)
	home := a.getenv("HOME")
	xdg := &app{environ: []string{"HOME=" + home, "XDG_STATE_HOME=/xdg"}}
	relative := &app{environ: []string{"HOME=" + home, "XDG_STATE_HOME=xdg"}}
	tests := []struct {
		a       *app
		o       options
		profile string
		want    string
	}{
		{a, options{}, "DEFAULT", home + "/.local/state/patrol/DEFAULT"},
		{a, options{}, "work", home + "/.local/state/patrol/work"},
		{xdg, options{}, "work", "/xdg/patrol/work"},
		{relative, options{}, "work", home + "/.local/state/patrol/work"},
		{xdg, options{stateDir: "/mine"}, "work", "/mine"},
		{&app{environ: []string{"XDG_STATE_HOME=/xdg"}}, options{}, "x", "/xdg/patrol/x"},
		{&app{}, options{stateDir: "/mine"}, "x", "/mine"},
	}
	for _, tt := range tests {
		if got, err := tt.a.stateDir(tt.o, tt.profile); err != nil || got != tt.want {
			t.Errorf("stateDir = %q, %v; want %q", got, err, tt.want)
		}
	}
	if _, err := (&app{}).stateDir(options{}, "x"); err == nil {
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

func TestMakePrivateDir(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, "a", "b")
	if err := makePrivateDir(dir); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{dir, filepath.Dir(dir)} {
		if info, err := os.Stat(d); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v, %v", d, info.Mode(), err)
		}
	}
	if err := makePrivateDir(dir); err != nil {
		t.Errorf("the second time: %v", err)
	}
	link := filepath.Join(root, "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	if err := makePrivateDir(link); err != nil {
		t.Errorf("through a link: %v", err)
	}
}

func TestMakePrivateDirRefused(t *testing.T) {
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
		err := makePrivateDir(dir)
		if _, hint := hintOf(err); err == nil || !strings.Contains(err.Error(), says) || !strings.Contains(hint, "--state-dir") {
			t.Errorf("%s: %v (%s)", dir, err, hint)
		}
	}
	if info, err := os.Stat(open); err != nil || info.Mode().Perm() != 0o770 {
		t.Errorf("the mode of a folder that isn't ours to change was changed: %v, %v", info.Mode(), err)
	}
}

func TestSocketPath(t *testing.T) {
	root := t.TempDir()
	short := filepath.Join("/run", "state")
	long := filepath.Join(root, strings.Repeat("x", maxSocketPath))
	runtimeDir, temp := filepath.Join(root, "run"), filepath.Join(root, "tmp")
	for _, dir := range []string{runtimeDir, temp} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	a := &app{environ: []string{"XDG_RUNTIME_DIR=" + runtimeDir, "TMPDIR=" + temp}}
	if path, link, err := a.socketPath(short); err != nil || link != "" || path != "/run/state/control.sock" {
		t.Errorf("short: %q, %q, %v", path, link, err)
	}
	path, link, err := a.socketPath(long)
	if err != nil || filepath.Dir(path) != filepath.Join(runtimeDir, "patrol") || len(path) > maxSocketPath || link != filepath.Join(long, controlName) {
		t.Errorf("long: %q, %q, %v", path, link, err)
	}
	if other, _, err := a.socketPath(long + "y"); err != nil || other == path {
		t.Errorf("two states share %q (%v)", other, err)
	}

	// What somebody else has put there is not used.
	own := filepath.Join(runtimeDir, "patrol")
	if err := os.Chmod(own, 0o777); err != nil { //nolint:gosec // that is the attack
		t.Fatal(err)
	}
	path, _, err = a.socketPath(long)
	if err != nil || !strings.HasPrefix(path, temp) {
		t.Errorf("a folder that is open to others: %q, %v", path, err)
	}
	if err := os.Remove(own); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(root, own); err != nil {
		t.Fatal(err)
	}
	path, _, err = a.socketPath(long)
	if err != nil || !strings.HasPrefix(path, temp) {
		t.Errorf("a link: %q, %v", path, err)
	}
}
