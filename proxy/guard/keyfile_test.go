package guard

import (
	"bytes"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

const (
	keyA = "key-a-0123456789abcdef"
	keyB = "key-b-0123456789abcdef"
)

func writeKeys(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func acceptsKey(g *Guard, value string) bool {
	by := g.shownIn(http.Header{"X-Api-Key": {value}})
	return by.isKey() && by.name() == FromKeyFile
}

func TestKeyFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys")
	for _, text := range []string{
		keyA + "\n" + keyB + "\n",
		keyA + "\r\n" + keyB, // CRLF, and no end of line at the end
		"# the laptop\n" + keyA + "  \n\n   \n#" + canary + "-0123\n\t" + keyB + "\n",
	} {
		writeKeys(t, path, text)
		g := newGuard(t, Config{KeyFile: path})
		if !acceptsKey(g, keyA) || !acceptsKey(g, keyB) {
			t.Errorf("%q: a key isn't accepted", text)
		}
		if acceptsKey(g, keyA+" "+keyB) || acceptsKey(g, "#"+canary+"-0123") || acceptsKey(g, canary+"-0123") || acceptsKey(g, "# the laptop") {
			t.Errorf("%q: what is no key is accepted", text)
		}
	}
}

func TestKeyFileErrors(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "keys")
	for text, want := range map[string]string{
		"":                                 "holds no key",
		"# nothing\n\n":                    "holds no key",
		keyA + "\nshort\n":                 "line 2",
		keyA + "\n\n" + keyB + " # mine\n": "line 3",
		"\ufeff" + keyA + "\n":             "line 1",
		keyA + "\x00\n":                    "line 1",
		strings.Repeat("k", 1<<20+1):       "1 MiB",
		strings.Repeat("k", 1<<19):         "line 1",
	} {
		writeKeys(t, path, text)
		_, err := New(Config{KeyFile: path})
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%.40q: %v, want an error with %q and the path", text, err, want)
		}
		if err != nil && (strings.Contains(err.Error(), keyA) || strings.Contains(err.Error(), keyB) || strings.Contains(err.Error(), "short\n")) {
			t.Errorf("the error shows a key: %v", err)
		}
	}
	for _, missing := range []string{filepath.Join(dir, "none"), dir} {
		if _, err := New(Config{KeyFile: missing}); err == nil || !strings.Contains(err.Error(), missing) {
			t.Errorf("%s: %v, want an error that names it", missing, err)
		}
	}
}

// TestKeyFileFollowed edits the file under a running guard.
func TestKeyFileFollowed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys")
	writeKeys(t, path, keyA+"\n")
	synctest.Test(t, func(t *testing.T) {
		var buf bytes.Buffer
		g := newGuard(t, Config{KeyFile: path, Log: slog.New(slog.NewTextHandler(&buf, nil))})
		steps := []struct {
			name  string
			edit  func() error
			a, b  bool
			lines int // of log so far
		}{
			{"nothing", func() error { return nil }, true, false, 0},
			{"replaced in place", func() error { return os.WriteFile(path, []byte(keyB+"\n"), 0o600) }, false, true, 0},
			{"added", func() error { return os.WriteFile(path, []byte(keyB+"\n"+keyA+"\n"), 0o600) }, true, true, 0},
			{"half written", func() error { return os.WriteFile(path, []byte(keyB+"\nkey-a"), 0o600) }, false, false, 1},
			{"still half written", func() error { return nil }, false, false, 1},
			{"mended", func() error { return os.WriteFile(path, []byte(keyA), 0o600) }, true, false, 2},
			{"renamed over", func() error {
				if err := os.WriteFile(path+".new", []byte(keyB), 0o600); err != nil {
					return err
				}
				return os.Rename(path+".new", path)
			}, false, true, 2},
			{"gone", func() error { return os.Remove(path) }, false, false, 3},
			{"back", func() error { return os.WriteFile(path, []byte(keyA), 0o600) }, true, false, 4},
		}
		for _, step := range steps {
			if err := step.edit(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(keyFileInterval)
			if a, b := acceptsKey(g, keyA), acceptsKey(g, keyB); a != step.a || b != step.b {
				t.Errorf("%s: key a %v, key b %v, want %v and %v", step.name, a, b, step.a, step.b)
			}
			if lines := strings.Count(buf.String(), "\n"); lines != step.lines {
				t.Errorf("%s: %d lines of log, want %d:\n%s", step.name, lines, step.lines, buf.String())
			}
		}
		if strings.Contains(buf.String(), "key-") {
			t.Errorf("a key is in the log:\n%s", buf.String())
		}
	})
}

// TestKeyFileConcurrent is for the race detector: many requests, one reader.
func TestKeyFileConcurrent(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys")
	writeKeys(t, path, keyA)
	synctest.Test(t, func(t *testing.T) {
		g := newGuard(t, Config{KeyFile: path})
		var all sync.WaitGroup
		for range 32 {
			all.Go(func() {
				for range 10 {
					if !acceptsKey(g, keyA) {
						t.Error("a key that never changed isn't accepted")
					}
					time.Sleep(keyFileInterval / 2)
				}
			})
		}
		all.Wait()
	})
}

func TestKeyFileMode(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the mode says nothing here")
	}
	path := filepath.Join(t.TempDir(), "keys")
	writeKeys(t, path, keyA)
	for mode, in := range map[os.FileMode]bool{0o600: true, 0o400: true, 0o640: false, 0o604: false, 0o644: false, 0o660: false, 0o602: false, 0o601: false, 0o777: false} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		_, err := New(Config{KeyFile: path})
		if in && err != nil || !in && (err == nil || !strings.Contains(err.Error(), "chmod 600")) {
			t.Errorf("mode %o: %v", mode, err)
		}
	}
}
