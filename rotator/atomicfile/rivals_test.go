package atomicfile

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestEditStartsOver: a file that another program puts in place between
// our reading and our renaming is built on.
func TestEditStartsOver(t *testing.T) {
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
			_, err := Edit(path, func(content []byte, exists bool) ([]byte, error) {
				if seen = append(seen, string(content)); len(seen) == 1 {
					if err := meddle(path); err != nil {
						t.Error(err)
					}
				}
				return withOurs(content, exists)
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

// swapAfter stages "ours" for a file that holds "old", lets another program
// meddle with that, and swaps.
func swapAfter(t *testing.T, path string, exchange func(a, b string) error, meddle func(path string) error) error {
	t.Helper()
	target, err := open(path, true)
	if err != nil {
		t.Fatal(err)
	}
	defer target.close()
	tmp := target.tempName()
	if err := target.stage(tmp, []byte("ours")); err != nil {
		t.Fatal(err)
	}
	if !target.unchanged(path) {
		t.Fatal("it has changed")
	}
	if err := meddle(path); err != nil {
		t.Fatal(err)
	}
	return target.swap(tmp, exchange)
}

func noExchange(string, string) error { return errors.ErrUnsupported }

// TestSwapPutsBack: what another program does after the last look at the file
// and before the rename is found and put back.
func TestSwapPutsBack(t *testing.T) {
	for name, c := range map[string]struct {
		meddle func(path string) error
		want   string // that the file holds then; "" is no regular file
		err    error
	}{
		"nothing":   {func(string) error { return nil }, "ours", nil},
		"in place":  {func(path string) error { return inPlace(path, []byte("theirs")) }, "theirs", errChanged},
		"by rename": {func(path string) error { return byRename(path, []byte("theirs")) }, "theirs", errChanged},
		"a folder":  {func(path string) error { return errors.Join(os.Remove(path), os.Mkdir(path, 0o700)) }, "", errChanged},
		"a link":    {func(path string) error { return errors.Join(os.Remove(path), os.Symlink("x", path)) }, "", errChanged},
	} {
		t.Run(name, func(t *testing.T) {
			if err := exchange(put(t, "x", ""), put(t, "y", "")); errors.Is(err, errors.ErrUnsupported) {
				t.Skip("no exchange here: ", err)
			}
			path := put(t, "cfg", "old")
			if err := swapAfter(t, path, exchange, c.meddle); !errors.Is(err, c.err) {
				t.Errorf("swap: %v, want %v", err, c.err)
			}
			if info, err := os.Lstat(path); err != nil || info.Mode().IsRegular() != (c.want != "") {
				t.Errorf("it took away what was there: %v %v", info, err)
			} else if c.want != "" && get(t, path) != c.want {
				t.Errorf("the file is %q, want %q", get(t, path), c.want)
			}
		})
	}
}

// TestSwapWithoutExchange: not every file system can exchange two files.
func TestSwapWithoutExchange(t *testing.T) {
	for name, c := range map[string]struct {
		meddle func(path string) error
		want   string
		err    error
	}{
		"nothing":  {func(string) error { return nil }, "ours", nil},
		"in place": {func(path string) error { return inPlace(path, []byte("theirs")) }, "theirs", errChanged},
		"removed":  {os.Remove, "ours", nil},
		"swept": {func(path string) error {
			left, err := filepath.Glob(filepath.Join(filepath.Dir(path), tempPrefix(path)+"*"))
			return errors.Join(err, os.Remove(left[0]))
		}, "old", errChanged},
	} {
		t.Run(name, func(t *testing.T) {
			path := put(t, "cfg", "old")
			if err := swapAfter(t, path, noExchange, c.meddle); !errors.Is(err, c.err) || get(t, path) != c.want {
				t.Errorf("swap: %v; the file is %q, want %v and %q", err, get(t, path), c.err, c.want)
			}
		})
	}
}

// TestCreateTakesNothingAway: a file that came to be meanwhile stays.
func TestCreateTakesNothingAway(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cfg")
	err := swapAfter(t, path, exchange, func(path string) error { return inPlace(path, []byte("theirs")) })
	if !errors.Is(err, errChanged) || get(t, path) != "theirs" {
		t.Errorf("swap: %v; the file is %q", err, get(t, path))
	}
}

// TestAttemptLooksAgain: whatever another program does after a replacement is
// seen by the next attempt.
func TestAttemptLooksAgain(t *testing.T) {
	path := put(t, "cfg", "old")
	e := editing{path: path, edit: withOurs}
	for i, step := range []struct {
		before func() error
		done   bool
		want   string
	}{
		{nil, false, "old and ours"},
		{func() error { return inPlace(path, []byte("undone")) }, false, "undone and ours"},
		{func() error { return byRename(path, []byte("replaced")) }, false, "replaced and ours"},
		{nil, true, "replaced and ours"},
	} {
		if step.before != nil {
			if err := step.before(); err != nil {
				t.Fatal(err)
			}
		}
		done, err := e.attempt()
		if got := get(t, path); done != step.done || err != nil || got != step.want {
			t.Fatalf("step %d: %v, %v; the file is %q, want %v and %q", i, done, err, got, step.done, step.want)
		}
	}
}

// TestEditTakesOverLateEdits: the whole of it, with another writer that
// has the old file open while we replace it.
func TestEditTakesOverLateEdits(t *testing.T) {
	path := put(t, "cfg", "old")
	if f, err := os.Open(path); err != nil {
		t.Fatal(err)
	} else if _, known := hasWriter(f); !known {
		t.Skip("this system can't tell who writes")
	}
	open := make(chan *os.File, 1)
	var writer sync.WaitGroup
	calls := 0
	_, err := Edit(path, func(content []byte, exists bool) ([]byte, error) {
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
		return withOurs(content, exists)
	})
	writer.Wait()
	if got := get(t, path); err != nil || got != "theirs and ours" {
		t.Errorf("%q, %v", got, err)
	}
}

// TestEditWhileSomebodyKeepsItOpen: a program that never closes the file
// holds nothing up for ever.
func TestEditWhileSomebodyKeepsItOpen(t *testing.T) {
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
	if _, err := Edit(path, to("new")); err != nil || get(t, path) != "new" {
		t.Errorf("%q, %v", get(t, path), err)
	}
	if took := time.Since(start); took > 5*patience {
		t.Errorf("it took %v", took)
	}
}

// TestEditWhileLocked: another patrol that hangs with its lock held is
// waited for, and not for ever.
func TestEditWhileLocked(t *testing.T) {
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
	if _, err := Edit(path, to("new")); err != nil || get(t, path) != "new" {
		t.Errorf("%q, %v", get(t, path), err)
	}
	if took := time.Since(start); took < patience || took > 5*patience {
		t.Errorf("it took %v", took)
	}
}

// TestEditGivesUp: a file that never stands still ends in an error, and
// stays whole.
func TestEditGivesUp(t *testing.T) {
	t.Parallel()
	path := put(t, "cfg", "0")
	n := 0
	_, err := Edit(path, func([]byte, bool) ([]byte, error) {
		n++
		if err := os.WriteFile(path, fmt.Append(nil, n), 0o600); err != nil {
			t.Error(err)
		}
		return []byte("ours"), nil
	})
	if err == nil || !strings.Contains(err.Error(), "keep changing it") || get(t, path) != fmt.Sprint(n) {
		t.Errorf("%v; the file holds %q after %d tries", err, get(t, path), n)
	}
}

// TestReadersNeverSeeATornFile reads in a tight loop while the file changes.
func TestReadersNeverSeeATornFile(t *testing.T) {
	rest := strings.Repeat("# a line to make the file larger than one write\n", 100)
	values := []string{"old" + rest, "new" + rest}
	path := put(t, "cfg", values[0])
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
			if err != nil || !slices.Contains(values, string(b)) {
				t.Errorf("torn after %d reads: %d bytes, %v", reads, len(b), err)
				return
			}
			reads++
		}
	})
	for i := range 100 {
		if _, err := Edit(path, to(values[(i+1)%2])); err != nil {
			t.Fatal(err)
		}
	}
	close(done)
	reader.Wait()
	t.Logf("%d reads during 100 writes, none torn", reads)
}

// TestManyPatrols: several of them, each with its own line in one file, lose
// nothing of each other's.
func TestManyPatrols(t *testing.T) {
	const patrols, rounds = 4, 20
	path := filepath.Join(t.TempDir(), "cfg")
	var all sync.WaitGroup
	for p := range patrols {
		line := func(i int) string { return fmt.Sprintf("p%d = %d\n", p, i) }
		own := regexp.MustCompile(fmt.Sprintf(`p%d = \d+\n`, p))
		all.Go(func() {
			for i := range rounds {
				_, err := Edit(path, func(old []byte, _ bool) ([]byte, error) {
					if own.Match(old) {
						return own.ReplaceAll(old, []byte(line(i))), nil
					}
					return append(bytes.Clone(old), line(i)...), nil
				})
				if err != nil {
					t.Error(err)
				}
				// Whatever the others do, our own stays what we wrote.
				if content, _, err := Read(path); err != nil || !bytes.Contains(content, []byte(line(i))) {
					t.Errorf("p%d lost %d: %q (%v)", p, i, content, err)
				}
			}
		})
	}
	all.Wait()
}
