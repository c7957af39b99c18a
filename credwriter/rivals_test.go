package credwriter

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"patrol/rotator/pat"
)

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

// TestCreateTakesNothingAway: a file that came to be meanwhile stays.
func TestCreateTakesNothingAway(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cfg")
	target, err := open(path, true)
	if err != nil {
		t.Fatal(err)
	}
	tmp, err := stage(target, []byte("ours"))
	if err != nil {
		t.Fatal(err)
	}
	if err := inPlace(path, []byte("theirs")); err != nil {
		t.Fatal(err)
	}
	if _, err := target.swap(tmp, exchange); !errors.Is(err, errChanged) || get(t, path) != "theirs" {
		t.Errorf("swap: %v; the file is %q", err, get(t, path))
	}
}

// TestReplacementLooksAgain goes step by step: whatever another program does
// after a replacement is seen by the next look, and what it did during one is
// taken over.
func TestReplacementLooksAgain(t *testing.T) {
	path := put(t, "cfg", "old")
	r := replacement{path: path, edit: func(content []byte, _ bool) (change, error) {
		if string(content) == "rubbish" {
			return change{}, errors.New("rubbish")
		}
		return change{content: append(bytes.TrimSuffix(bytes.Clone(content), []byte("+")), '+')}, nil
	}}
	for i, step := range []struct {
		before func() error
		done   bool
		want   string
	}{
		{nil, false, "old+"},
		{func() error { return inPlace(path, []byte("undone")) }, false, "undone+"},
		{func() error { r.newer = []byte("during"); return nil }, false, "during+"},
		{func() error { r.newer = []byte("rubbish"); return nil }, true, "during+"},
		{func() error { r.newer = []byte("during"); return byRename(path, []byte("after")) }, false, "after+"},
		{nil, true, "after+"},
	} {
		if step.before != nil {
			if err := step.before(); err != nil {
				t.Fatal(err)
			}
		}
		_, done, err := r.once()
		if got := get(t, path); done != step.done || err != nil || got != step.want {
			t.Fatalf("step %d: %v, %v; the file is %q, want %v and %q", i, done, err, got, step.done, step.want)
		}
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
	start := time.Now()
	if _, err := replace(path, to("new")); err != nil || get(t, path) != "new" {
		t.Errorf("%q, %v", get(t, path), err)
	}
	if took := time.Since(start); took < patience || took > 5*patience {
		t.Errorf("it took %v", took)
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
