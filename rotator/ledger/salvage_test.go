package ledger_test

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"patrol/rotator/ledger"
	"patrol/rotator/pat"
)

// TestLostHeader: a ledger without its header is corrupt, however that came
// about, and is still that of the same patrol.
func TestLostHeader(t *testing.T) {
	headless := func(data []byte) []byte {
		_, rest, _ := bytes.Cut(data, []byte{'\n'})
		return rest
	}
	for name, c := range map[string]struct {
		spoil  func(data []byte) []byte
		noNote bool // beside the ledger
		left   int  // entries
	}{
		"empty":    {spoil: func([]byte) []byte { return nil }},
		"torn":     {spoil: func(data []byte) []byte { return data[:17] }},
		"garbage":  {spoil: func([]byte) []byte { return []byte("\x8d\x00 what\nis this\n") }},
		"headless": {spoil: headless, left: 2},
		"no note":  {spoil: headless, left: 2, noNote: true},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			l := open(t, dir)
			instance := l.Instance()
			put(t, l, ledger.Entry{Nonce: "0123456789abcdef", Stage: ledger.Current, Info: pat.Info{Comment: "patrol/" + instance + "/0123456789abcdef"}})
			put(t, l, ledger.Entry{Nonce: "b", Stage: ledger.Retiring, Found: []string{"login"}, Info: pat.Info{Comment: "patrol/other/0123456789abcdef"}})
			l.Close()
			data, err := os.ReadFile(file(dir))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file(dir), c.spoil(data), 0o600); err != nil {
				t.Fatal(err)
			}
			if c.noNote {
				if err := os.Remove(filepath.Join(dir, "instance")); err != nil {
					t.Fatal(err)
				}
			}
			if got, _, err := ledger.Read(dir); err != nil || got != instance && !c.noNote {
				t.Errorf("Read: instance %q, %v", got, err)
			}
			var logged bytes.Buffer
			if l, err = ledger.Open(ledger.Config{Dir: dir, Log: slog.New(slog.NewTextHandler(&logged, nil))}); err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			if l.Instance() != instance || len(l.Pending()) != c.left || !l.Incomplete() {
				t.Errorf("instance %q, want %q; %d entries, want %d; salvaged %v", l.Instance(), instance, len(l.Pending()), c.left, l.Incomplete())
			}
			aside, err := filepath.Glob(file(dir) + ".corrupt-*")
			if err != nil || len(aside) != 1 || !strings.Contains(logged.String(), aside[0]) {
				t.Errorf("set aside: %v, %v; the log says %s", aside, err, &logged)
			}
		})
	}
}

// TestLostLedger: its folder tells that there was one, and whose.
func TestLostLedger(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	instance := l.Instance()
	if l.Incomplete() {
		t.Error("a first start has lost nothing")
	}
	l.Close()
	if err := os.Remove(file(dir)); err != nil {
		t.Fatal(err)
	}
	if l = open(t, dir); l.Instance() != instance || !l.Incomplete() {
		t.Errorf("instance %q, want %q; salvaged %v", l.Instance(), instance, l.Incomplete())
	}
}

// TestInstanceNote: a note that is not whole isn't believed, and the note is as
// the ledger is.
func TestInstanceNote(t *testing.T) {
	dir := t.TempDir()
	note := filepath.Join(dir, "instance")
	l := open(t, dir)
	instance := l.Instance()
	l.Close()
	whole, err := os.ReadFile(note)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(note); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	rotten := bytes.Replace(whole, []byte(instance), []byte("z"+instance[1:]), 1)
	if bytes.Equal(rotten, whole) {
		rotten = bytes.Replace(whole, []byte(instance), []byte("y"+instance[1:]), 1)
	}
	if err := errors.Join(os.WriteFile(note, rotten, 0o600), os.Remove(file(dir))); err != nil {
		t.Fatal(err)
	}
	l = open(t, dir)
	fresh := l.Instance()
	if fresh == instance || strings.HasSuffix(fresh, instance[1:]) {
		t.Errorf("instance %q, from a rotten note", fresh)
	}
	l.Close()
	if l, err = ledger.Open(ledger.Config{Dir: dir, Instance: "mine"}); err != nil {
		t.Fatal(err)
	}
	l.Close()
	if err := os.WriteFile(file(dir), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := open(t, dir).Instance(); got != "mine" {
		t.Errorf("instance %q after an override", got)
	}
}

// TestGapsAreRemembered by every start until they are mended.
func TestGapsAreRemembered(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(file(dir), []byte("rot\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		l := open(t, dir)
		if !l.Incomplete() {
			t.Fatal("the gaps are forgotten")
		}
		put(t, l, ledger.Entry{Nonce: "a", Stage: ledger.Minted})
		l.Close()
	}
	if aside, err := filepath.Glob(file(dir) + ".corrupt-*"); err != nil || len(aside) != 1 {
		t.Errorf("set aside: %v, %v", aside, err)
	}
	l := open(t, dir)
	if err := l.MarkComplete(); err != nil || l.Incomplete() {
		t.Errorf("Mended = %v, salvaged %v", err, l.Incomplete())
	}
	l.Close()
	if l = open(t, dir); l.Incomplete() || len(l.Pending()) != 1 {
		t.Errorf("after it was mended: salvaged %v, %v", l.Incomplete(), l.Pending())
	}
}

// TestErr tells of a record that isn't on the disk, until it is.
func TestErr(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("a folder with open files can't be moved")
	}
	dir := filepath.Join(t.TempDir(), "state")
	l := open(t, dir)
	if err := errors.Join(os.Rename(dir, dir+".away"), os.WriteFile(dir, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	if err := l.Put(ledger.Entry{Nonce: "a", Stage: ledger.Minted}); err == nil || !errors.Is(l.Err(), err) {
		t.Errorf("Put = %v, Err = %v", err, l.Err())
	}
	if err := errors.Join(os.Remove(dir), os.Rename(dir+".away", dir)); err != nil {
		t.Fatal(err)
	}
	put(t, l, ledger.Entry{Nonce: "b", Stage: ledger.Minted})
	if err := l.Err(); err != nil {
		t.Errorf("Err = %v", err)
	}
}

// newer is a ledger of a version to come.
const newer = "0434f402 {\"patrol_ledger\":2,\"instance\":\"i\"}\n"

// TestNewerLedger is not called corrupt, and is left as it is.
func TestNewerLedger(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(file(dir), []byte(newer), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ledger.Open(ledger.Config{Dir: dir}); err == nil || !strings.Contains(err.Error(), "newer patrol") {
		t.Errorf("Open = %v", err)
	}
	if _, _, err := ledger.Read(dir); err == nil || !strings.Contains(err.Error(), "newer patrol") {
		t.Errorf("Read = %v", err)
	}
	if got, err := os.ReadFile(file(dir)); err != nil || string(got) != newer {
		t.Errorf("it holds %q, %v", got, err)
	}
	if aside, err := filepath.Glob(file(dir) + ".*"); err != nil || len(aside) > 0 {
		t.Errorf("set aside: %v, %v", aside, err)
	}
}
