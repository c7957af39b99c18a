package atomicfile

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func TestEditFollowsLinks(t *testing.T) {
	dir := t.TempDir()
	for _, d := range []string{"home/sub", "dotfiles/deep"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	at := func(name string) string { return filepath.Join(dir, name) }
	link := func(to, from string) {
		t.Helper()
		if err := os.Symlink(to, at(from)); err != nil {
			t.Fatal(err)
		}
	}
	link("../dotfiles/first", "home/cfg")
	link(at("dotfiles/second"), "dotfiles/first")
	link("deep/../third", "dotfiles/second")
	link("../dotfiles/deep", "home/linked")
	link("../third", "dotfiles/deep/up") // ".." of a folder that is reached by a link
	link("nowhere/cfg", "home/lost")
	link("loop", "home/loop")
	link("gone", "home/folder")

	// A link into a folder that is there makes the file; later it is replaced.
	for i, path := range []string{"home/cfg", "home/cfg", "home/linked/up", "dotfiles/third"} {
		want := fmt.Sprint("content ", i)
		if _, err := Edit(at(path), to(want)); err != nil {
			t.Fatal(err)
		}
		if got := get(t, at("dotfiles/third")); got != want {
			t.Errorf("after writing %s the file holds %q", path, got)
		}
	}
	for _, path := range []string{"home/cfg", "dotfiles/first", "dotfiles/second", "dotfiles/deep/up"} {
		if info, err := os.Lstat(at(path)); err != nil || info.Mode()&os.ModeSymlink == 0 {
			t.Errorf("%s is no link any more (%v)", path, err)
		}
	}
	for path, want := range map[string]string{
		"home/lost":       "whose folder is missing: make the folder",
		"home/loop":       "too many links",
		"home/folder/cfg": "whose folder is missing",
	} {
		for name, err := range operations(at(path)) {
			if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), at(path)) {
				t.Errorf("%s of %s: %v", name, path, err)
			}
		}
	}
}

func TestNoFileIsRefused(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	if err := os.Mkdir(at("folder"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(at("file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	huge, err := os.Create(at("huge"))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(huge.Truncate(maxSize+1), huge.Close()); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"folder":          "is a folder",
		"folder/":         "is a folder",
		"folder/../huge":  "too large",
		"file/below":      "a part of its path is a file",
		"file/far/below":  "a part of its path is a file",
		os.DevNull + "/x": "a part of its path is a file",
		os.DevNull:        "is no regular file",
	} {
		path := name
		if !filepath.IsAbs(path) {
			path = dir + string(filepath.Separator) + name
		}
		for op, err := range operations(path) {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s of %s: %v, want %q", op, path, err, want)
			}
		}
	}
	if names, _ := filepath.Glob(at(".*")); len(names) > 0 {
		t.Errorf("left behind: %v", names)
	}
}

func TestEditTakesTheFileAwayFromOthers(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no modes")
	}
	path := put(t, "cfg", "old")
	for _, c := range []struct{ content, from, to string }{
		{"new", "-rw-r--r--", "-rw-------"},
		{"new", "-rwxrwxrwx", "-rw-------"}, // nothing to write
		{"more", "-r--r--r--", "-rw-------"},
		{"more", "-r--------", "-r--------"},
	} {
		var mode os.FileMode
		for i, r := range c.from[1:] {
			if r != '-' {
				mode |= 1 << (8 - i)
			}
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if err := DryRun(path, to(c.content)); err != nil {
			t.Fatal(err)
		}
		if info, _ := os.Stat(path); info.Mode().String() != c.from {
			t.Errorf("DryRun made %v of %s", info.Mode(), c.from)
		}
		if _, err := Edit(path, to(c.content)); err != nil {
			t.Fatal(err)
		}
		if info, _ := os.Stat(path); info.Mode().String() != c.to {
			t.Errorf("Edit made %v of %s, want %s", info.Mode(), c.from, c.to)
		}
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Edit(path, func([]byte, bool) ([]byte, error) { return nil, nil }); err != nil {
		t.Fatal(err)
	}
	if info, _ := os.Stat(path); info.Mode().Perm() != 0o644 {
		t.Errorf("a file that is none of our business got mode %v", info.Mode())
	}
}

func TestEditReportsHardLinks(t *testing.T) {
	path := put(t, "cfg", "old")
	other := path + "-other"
	if err := os.Link(path, other); err != nil {
		t.Skip(err)
	}
	left, err := Edit(path, to("new"))
	if err != nil || len(left) != 1 || !strings.Contains(left[0], "hard links") {
		t.Errorf("Edit: %q, %v", left, err)
	}
	if get(t, path) != "new" || get(t, other) != "old" {
		t.Errorf("%q and %q", get(t, path), get(t, other))
	}
	if left, err := Edit(path, to("newer")); err != nil || len(left) > 0 {
		t.Errorf("once broken: %q, %v", left, err)
	}
}

// TestEditSweepsLeftovers: what a killed run left goes, what a live one is
// about to use stays.
func TestEditSweepsLeftovers(t *testing.T) {
	path := put(t, ".cfg", "old")
	dir := filepath.Dir(path)
	name := func(base string) string { return filepath.Join(dir, base) }
	dead, live := name(tempPrefix(path)+rand.Text()), name(tempPrefix(path)+rand.Text())
	foreign := []string{name(".cfg.patrol-short"), name(".cfg.patrol-" + strings.Repeat("a", 26)), name(".other.patrol-" + rand.Text()), name("cfg.bak")}
	for _, p := range append(foreign, dead, live) {
		if err := os.WriteFile(p, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	folder := name(tempPrefix(path) + rand.Text())
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(live)
	if err != nil {
		t.Fatal(err)
	}
	if err := lock(f); err != nil {
		t.Skip("no locks here: ", err)
	}
	if _, err := Edit(path, to("new")); err != nil {
		t.Fatal(err)
	}
	for _, p := range append(foreign, live, folder) {
		if _, err := os.Lstat(p); err != nil {
			t.Errorf("it took away %v", err)
		}
	}
	if _, err := os.Lstat(dead); err == nil {
		t.Error("a leftover stays")
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Edit(path, to("new")); err != nil { // nothing to write
		t.Fatal(err)
	}
	if _, err := os.Lstat(live); err == nil {
		t.Error("a leftover stays after its owner has gone")
	}
}

// TestWrite replaces a file, over what a killed process left.
func TestWrite(t *testing.T) {
	path := put(t, "ledger", "old")
	if err := os.WriteFile(path+".new", []byte("left behind"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := Write(path, []byte("new")); err != nil || get(t, path) != "new" {
		t.Errorf("Write: %v; the file is %q", err, get(t, path))
	}
	if info, err := os.Stat(path); err != nil || runtime.GOOS != "windows" && info.Mode() != 0o600 {
		t.Errorf("its mode is %v (%v)", info.Mode(), err)
	}
	if !isMissing(path + ".new") {
		t.Error("the temporary file stays")
	}
	if err := Write(filepath.Join(path, "below"), nil); err == nil {
		t.Error("written below a file")
	}
	if err := os.Mkdir(path+"-folder", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := Write(path+"-folder", nil); err == nil || !isMissing(path+"-folder.new") {
		t.Errorf("over a folder: %v", err)
	}
}

// TestCreate: what is written to the file that it returns is at the path.
func TestCreate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger")
	f, err := Create(path, []byte("one"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("two"), 3); err != nil {
		t.Error(err)
	}
	if err := f.Close(); err != nil || get(t, path) != "onetwo" {
		t.Errorf("%v; the file is %q", err, get(t, path))
	}
}

// BenchmarkEdit measures a whole replacement, disk included, and an edit that
// finds nothing to do.
func BenchmarkEdit(b *testing.B) {
	path := put(b, "cfg", "")
	b.Run("replaces", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			if _, err := Edit(path, to(fmt.Sprint(i%2))); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("nothing", func(b *testing.B) {
		for b.Loop() {
			if _, err := Edit(path, func(old []byte, _ bool) ([]byte, error) { return old, nil }); err != nil {
				b.Fatal(err)
			}
		}
	})
}
