package credwriter

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"patrol/rotator/pat"
)

// to returns an editor that makes the file what it is given.
func to(content string) editor {
	return func([]byte, bool) (change, error) { return change{content: []byte(content)}, nil }
}

func TestReplaceFollowsLinks(t *testing.T) {
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
		if _, err := replace(at(path), to(want)); err != nil {
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
		for name, err := range map[string]error{
			"replace":  second(replace(at(path), to("x"))),
			"rehearse": rehearse(at(path), to("x")),
			"look":     third(look(at(path))),
		} {
			if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), at(path)) {
				t.Errorf("%s of %s: %v", name, path, err)
			}
		}
	}
}

func second[T any](_ T, err error) error { return err }

func third[T, U any](_ T, _ U, err error) error { return err }

func TestReplaceRefusesWhatIsNoFile(t *testing.T) {
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
	if err := errors.Join(huge.Truncate(most+1), huge.Close()); err != nil {
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
		for op, err := range map[string]error{
			"replace":  second(replace(path, to("x"))),
			"rehearse": rehearse(path, to("x")),
			"look":     third(look(path)),
		} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s of %s: %v, want %q", op, path, err, want)
			}
		}
	}
	if names, _ := filepath.Glob(at(".*")); len(names) > 0 {
		t.Errorf("left behind: %v", names)
	}
}

func TestReplaceTakesTheFileAwayFromOthers(t *testing.T) {
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
		if err := rehearse(path, to(c.content)); err != nil {
			t.Fatal(err)
		}
		if info, _ := os.Stat(path); info.Mode().String() != c.from {
			t.Errorf("rehearse made %v of %s", info.Mode(), c.from)
		}
		if _, err := replace(path, to(c.content)); err != nil {
			t.Fatal(err)
		}
		if info, _ := os.Stat(path); info.Mode().String() != c.to {
			t.Errorf("replace made %v of %s, want %s", info.Mode(), c.from, c.to)
		}
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := replace(path, func([]byte, bool) (change, error) { return change{}, nil }); err != nil {
		t.Fatal(err)
	}
	if info, _ := os.Stat(path); info.Mode().Perm() != 0o644 {
		t.Errorf("a file that is none of our business got mode %v", info.Mode())
	}
}

func TestReplaceReportsHardLinks(t *testing.T) {
	path := put(t, "cfg", "old")
	other := path + "-other"
	if err := os.Link(path, other); err != nil {
		t.Skip(err)
	}
	left, err := replace(path, to("new"))
	if err != nil || len(left) != 1 || !strings.Contains(left[0], "hard links") {
		t.Errorf("replace: %q, %v", left, err)
	}
	if get(t, path) != "new" || get(t, other) != "old" {
		t.Errorf("%q and %q", get(t, path), get(t, other))
	}
	if left, err := replace(path, to("newer")); err != nil || len(left) > 0 {
		t.Errorf("once parted: %q, %v", left, err)
	}
}

// TestReplaceSweepsLeftovers: what a killed run left goes, what a live one is
// about to use stays.
func TestReplaceSweepsLeftovers(t *testing.T) {
	path := put(t, ".cfg", "old")
	dir := filepath.Dir(path)
	name := func(base string) string { return filepath.Join(dir, base) }
	dead, live := name(prefix(path)+rand.Text()), name(prefix(path)+rand.Text())
	foreign := []string{name(".cfg.patrol-short"), name(".cfg.patrol-" + strings.Repeat("a", 26)), name(".other.patrol-" + rand.Text()), name("cfg.bak")}
	for _, p := range append(foreign, dead, live) {
		if err := os.WriteFile(p, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	folder := name(prefix(path) + rand.Text())
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
	if _, err := replace(path, to("new")); err != nil {
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
	if _, err := replace(path, to("new")); err != nil { // nothing to write
		t.Fatal(err)
	}
	if _, err := os.Lstat(live); err == nil {
		t.Error("a leftover stays after its owner has gone")
	}
}

// TestReplaceStartsOver: a file that another program puts in place between
// our reading and our renaming is built on.
func TestReplaceStartsOver(t *testing.T) {
	for name, meddle := range map[string]func(path string) error{
		"in place":  func(path string) error { return inPlace(path, []byte("theirs")) },
		"by rename": func(path string) error { return byRename(path, []byte("theirs")) },
		"created":   func(path string) error { return inPlace(path, []byte("theirs")) },
		"by link": func(path string) error {
			return errors.Join(os.WriteFile(path+"-real", []byte("theirs"), 0o600), os.Remove(path), os.Symlink(path+"-real", path))
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := put(t, "cfg", "old")
			if name == "created" {
				if err := os.Remove(path); err != nil {
					t.Fatal(err)
				}
			}
			var seen []string
			_, err := replace(path, func(content []byte, _ bool) (change, error) {
				if seen = append(seen, string(content)); len(seen) == 1 {
					if err := meddle(path); err != nil {
						t.Error(err)
					}
				}
				return change{content: append(bytes.TrimSuffix(bytes.Clone(content), []byte(" and ours")), " and ours"...)}, nil
			})
			if got := get(t, path); err != nil || got != "theirs and ours" {
				t.Errorf("%q (%v) after seeing %q", got, err, seen)
			}
			entries, err := os.ReadDir(filepath.Dir(path))
			if err != nil || len(entries) > 2 || len(entries) == 2 && name != "by link" {
				t.Errorf("left behind: %v %v", entries, err)
			}
		})
	}
}

// TestSwapRecovers: what another program does after the last look at the file
// and before the rename is found and taken over.
func TestSwapRecovers(t *testing.T) {
	for name, c := range map[string]struct {
		meddle func(path string) error
		newer  string
		err    error
	}{
		"nothing":   {func(string) error { return nil }, "", nil},
		"in place":  {func(path string) error { return inPlace(path, []byte("theirs")) }, "theirs", nil},
		"emptied":   {func(path string) error { return os.Truncate(path, 0) }, "", nil},
		"by rename": {func(path string) error { return byRename(path, []byte("theirs")) }, "theirs", nil},
		"a folder":  {func(path string) error { return errors.Join(os.Remove(path), os.Mkdir(path, 0o700)) }, "", errChanged},
		"a link":    {func(path string) error { return errors.Join(os.Remove(path), os.Symlink("x", path)) }, "", errChanged},
	} {
		t.Run(name, func(t *testing.T) {
			path := put(t, "cfg", "old")
			if err := exchange(path, put(t, "x", "")); err != nil && name != "in place" && name != "nothing" && name != "emptied" {
				t.Skip("no exchange here: ", err)
			}
			path = put(t, "cfg", "old")
			target, err := open(path, true)
			if err != nil {
				t.Fatal(err)
			}
			defer target.close()
			tmp, err := stage(target, []byte("ours"))
			if err != nil {
				t.Fatal(err)
			}
			if !target.stands(path) {
				t.Fatal("it doesn't stand")
			}
			if err := c.meddle(path); err != nil {
				t.Fatal(err)
			}
			newer, err := target.swap(tmp, exchange)
			if string(newer) != c.newer || !errors.Is(err, c.err) {
				t.Errorf("swap: %q, %v; want %q, %v", newer, err, c.newer, c.err)
			}
			if c.err == nil && get(t, path) != "ours" {
				t.Errorf("the file is %q", get(t, path))
			}
			if info, err := os.Lstat(path); c.err != nil && (err != nil || info.Mode().IsRegular()) {
				t.Errorf("it took away what was there: %v %v", info, err)
			}
		})
	}
}

// TestSwapWithoutExchange: not every file system can exchange two files.
func TestSwapWithoutExchange(t *testing.T) {
	path := put(t, "cfg", "old")
	target, err := open(path, true)
	if err != nil {
		t.Fatal(err)
	}
	defer target.close()
	tmp, err := stage(target, []byte("ours"))
	if err != nil {
		t.Fatal(err)
	}
	if err := inPlace(path, []byte("theirs")); err != nil {
		t.Fatal(err)
	}
	newer, err := target.swap(tmp, func(string, string) error { return errors.ErrUnsupported })
	if string(newer) != "theirs" || err != nil || get(t, path) != "ours" {
		t.Errorf("swap: %q, %v; the file is %q", newer, err, get(t, path))
	}
	if _, err := os.Lstat(tmp); err == nil {
		t.Error("the temporary file stays")
	}
	// Somebody swept it away.
	if _, err := target.swap(tmp, exchange); !errors.Is(err, errChanged) {
		t.Errorf("swap without its file: %v", err)
	}
}

// TestReplaceTakesOverLateEdits: the whole of it, with another writer that
// has the old file open while we replace it.
func TestReplaceTakesOverLateEdits(t *testing.T) {
	path := put(t, "cfg", "old")
	if f, err := os.Open(path); err != nil {
		t.Fatal(err)
	} else if _, known := writing(f); !known {
		t.Skip("this system can't tell who writes")
	}
	open := make(chan *os.File, 1)
	var writer sync.WaitGroup
	calls := 0
	_, err := replace(path, func(content []byte, _ bool) (change, error) {
		if calls++; calls == 1 {
			// It has opened the file and writes when we are about to rename.
			f, err := os.OpenFile(path, os.O_WRONLY|os.O_TRUNC, 0)
			if err != nil {
				t.Error(err)
			}
			open <- f
			writer.Go(func() {
				f := <-open
				time.Sleep(20 * time.Millisecond)
				_, err := f.WriteString("theirs")
				time.Sleep(20 * time.Millisecond)
				if err := errors.Join(err, f.Close()); err != nil {
					t.Error(err)
				}
			})
		}
		return change{content: append(bytes.TrimSuffix(bytes.Clone(content), []byte(" and ours")), " and ours"...)}, nil
	})
	writer.Wait()
	if got := get(t, path); err != nil || got != "theirs and ours" {
		t.Errorf("%q, %v", got, err)
	}
}

// TestReplaceWhileSomebodyKeepsItOpen: a program that never closes the file
// holds nothing up for ever.
func TestReplaceWhileSomebodyKeepsItOpen(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for seconds")
	}
	t.Parallel()
	path := put(t, "cfg", "old")
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	start := time.Now()
	if _, err := replace(path, to("new")); err != nil || get(t, path) != "new" {
		t.Errorf("%q, %v", get(t, path), err)
	}
	if took := time.Since(start); took > 5*patience {
		t.Errorf("it took %v", took)
	}
}

// TestReplaceWhileLocked: another patrol that hangs with its lock held is
// waited for, and not for ever.
func TestReplaceWhileLocked(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for seconds")
	}
	t.Parallel()
	path := put(t, "cfg", "old")
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if err := lock(f); err != nil {
		t.Skip(err)
	}
	if _, err := replace(path, to("new")); err != nil || get(t, path) != "new" {
		t.Errorf("%q, %v", get(t, path), err)
	}
}

// TestReplaceGivesUp: a file that never stands still ends in an error, and
// stays whole.
func TestReplaceGivesUp(t *testing.T) {
	path := put(t, "cfg", "0")
	n := 0
	_, err := replace(path, func([]byte, bool) (change, error) {
		n++
		if err := os.WriteFile(path, fmt.Append(nil, n), 0o600); err != nil {
			t.Error(err)
		}
		return change{content: []byte("ours")}, nil
	})
	if err == nil || !strings.Contains(err.Error(), "keep changing it") || get(t, path) != fmt.Sprint(n) {
		t.Errorf("%v; the file holds %q after %d tries", err, get(t, path), n)
	}
}

// TestReadersNeverSeeATornFile reads in a tight loop while tokens change.
func TestReadersNeverSeeATornFile(t *testing.T) {
	rest := strings.Repeat("# a line to make the file larger than one write\n", 100)
	text := func(value string) string { return "[DEFAULT]\nhost = " + host + "\ntoken = " + value + "\n" + rest }
	path := put(t, ".databrickscfg", text(oldValue))
	values := []string{oldValue, newValue}
	d := NewDatabrickscfg(path, "DEFAULT", owner())
	done := make(chan struct{})
	var reader sync.WaitGroup
	reads := 0
	reader.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
			}
			b, err := os.ReadFile(path)
			if s := string(b); err != nil || s != text(values[0]) && s != text(values[1]) {
				t.Errorf("torn after %d reads: %d bytes, %v", reads, len(b), err)
				return
			}
			reads++
		}
	})
	for i := range 100 {
		if _, err := d.Write(pat.New(values[(i+1)%2], host)); err != nil {
			t.Fatal(err)
		}
	}
	close(done)
	reader.Wait()
	t.Logf("%d reads during 100 writes, none torn", reads)
}

// TestManyPatrols: several of them, each with its own profile in one file,
// lose nothing of each other's.
func TestManyPatrols(t *testing.T) {
	const patrols, rounds = 4, 20
	path := filepath.Join(t.TempDir(), ".databrickscfg")
	var all sync.WaitGroup
	for p := range patrols {
		d := NewDatabrickscfg(path, fmt.Sprint("p", p), Owner{Host: host})
		all.Go(func() {
			for i := range rounds {
				if _, err := d.Write(pat.New(fmt.Sprintf("dapi%d-%d", p, i), host)); err != nil {
					t.Error(err)
				}
				// Whatever the others do, our own stays what we wrote.
				if got, err := ReadProfile(path, fmt.Sprint("p", p)); err != nil || got.Token.Expose() != fmt.Sprintf("dapi%d-%d", p, i) {
					t.Errorf("profile p%d lost token %d (%v)", p, i, err)
				}
			}
		})
	}
	all.Wait()
}
