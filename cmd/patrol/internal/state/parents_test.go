//go:build unix

package state

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"patrol/cmd/patrol/internal/cli"
)

// TestLookAbove: who may write a folder above the state folder decides what stands in its
// place.
func TestLookAbove(t *testing.T) {
	const stranger = 12345
	type above struct {
		mode  os.FileMode
		owner int
	}
	for name, c := range map[string]struct {
		folders   []above // from the top
		warns     int
		err       string
		needsRoot bool
	}{
		"closed":                           {folders: []above{{0o755, 0}, {0o755, 0}}},
		"of a group, as with a umask":      {folders: []above{{0o775, 0}}, warns: 1},
		"of all, as an emptyDir":           {folders: []above{{0o777, 0}}, warns: 1},
		"each":                             {folders: []above{{0o777, 0}, {0o757, 0}}, warns: 2},
		"sticky, as /tmp":                  {folders: []above{{0o777 | os.ModeSticky, 0}}},
		"below a closed one":               {folders: []above{{0o700, 0}, {0o777, 0}}},
		"above a closed one":               {folders: []above{{0o777, 0}, {0o700, 0}}, warns: 1},
		"a stranger's":                     {folders: []above{{0o777, stranger}}, err: "belongs to uid 12345 (mode 0777)", needsRoot: true},
		"a stranger's, below a closed one": {folders: []above{{0o700, 0}, {0o777, stranger}}, needsRoot: true},
		"a stranger's that is sticky":      {folders: []above{{0o777 | os.ModeSticky, stranger}}, err: "belongs to uid 12345 (mode 0777)", needsRoot: true},
		"a stranger's that is closed":      {folders: []above{{0o755, stranger}}, err: "belongs to uid 12345 (mode 0755)", needsRoot: true},
		"a stranger's, closed to us too":   {folders: []above{{0o700, stranger}}, err: "belongs to uid 12345 (mode 0700)", needsRoot: true},
		"an emptyDir above a stranger's":   {folders: []above{{0o777, 0}, {0o755, stranger}}, err: "belongs to uid 12345 (mode 0755)", warns: 1, needsRoot: true},
	} {
		t.Run(name, func(t *testing.T) {
			if c.needsRoot && os.Geteuid() != 0 {
				t.Skip("only root gives folders away")
			}
			top := t.TempDir()
			if err := os.Chmod(filepath.Dir(top), 0o755); err != nil { //nolint:gosec // which is closed to others else
				t.Fatal(err)
			}
			for dir := top; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
				if info, err := os.Stat(dir); err != nil || info.Mode().Perm()&0o022 != 0 && info.Mode()&os.ModeSticky == 0 {
					t.Skipf("others may write %s", dir)
				}
			}
			dir := top
			for range c.folders {
				dir = filepath.Join(dir, "x")
				if err := os.Mkdir(dir, 0o700); err != nil {
					t.Fatal(err)
				}
			}
			dir = filepath.Join(dir, "state")
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			link := filepath.Join(t.TempDir(), "link")
			if err := os.Symlink(dir, link); err != nil {
				t.Fatal(err)
			}
			at := top
			for _, f := range c.folders {
				at = filepath.Join(at, "x")
				if err := os.Chmod(at, f.mode); err != nil {
					t.Fatal(err)
				}
				if f.owner != 0 {
					if err := os.Chown(at, f.owner, -1); err != nil {
						t.Fatal(err)
					}
				}
			}
			for _, path := range []string{dir, link} {
				err := CheckPrivate(path)
				if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) || err != nil && !strings.Contains(cli.HintOf(err), "--state-dir") {
					t.Errorf("%s: %v (%s), want %q", path, err, cli.HintOf(err), c.err)
				}
				if open := OpenParents(path); len(open) != c.warns {
					t.Errorf("%s: %q, want %d", path, open, c.warns)
				}
			}
		})
	}
}

func TestHasUID(t *testing.T) {
	for _, c := range []struct {
		uidMap string
		uid    int
		want   bool
	}{
		{"         0          0 4294967295\n", 65534, true}, // no namespace of its own
		{"      1000       1000          1\n", 65534, false},
		{"      1000       1000          1\n", 1000, true},
		{"0 1000 1\n1 100000 65536\n", 65534, true}, // a rootless container
		{"0 1000 1\n1 100000 65533\n", 65534, false},
		{"", 65534, false},
		{"what is this\n", 65534, true},
	} {
		if got := hasUID(c.uidMap, c.uid); got != c.want {
			t.Errorf("%q has %d: %v", c.uidMap, c.uid, got)
		}
	}
}
