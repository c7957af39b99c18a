package state

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"patrol/cmd/patrol/internal/cli"
)

func openKeys(t *testing.T, dir string) *Keys {
	t.Helper()
	k, err := OpenKeys(dir)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// names are those of the keys in force.
func names(all []ClientKey) (out []string) {
	for _, k := range all {
		out = append(out, k.Name)
	}
	return out
}

// revokedKeys are those that were revoked.
func revokedKeys(k *Keys) []ClientKey {
	_, revoked := k.All()
	return revoked
}

func TestKeys(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	k := openKeys(t, dir)
	first, ok := k.Key(DefaultKey)
	if !ok || !regexp.MustCompile(`^patrol-[a-z2-7]{26}$`).MatchString(first) {
		t.Fatalf("the default key is %q, %v", first, ok)
	}
	if info, err := os.Stat(filepath.Join(dir, "keys")); err != nil || runtime.GOOS != "windows" && info.Mode() != 0o600 {
		t.Errorf("the file: %v, %v", info.Mode(), err)
	}
	laptop, err := k.New("laptop")
	if err != nil || laptop == first {
		t.Fatal(err)
	}
	if key, err := k.New("laptop"); !cli.IsUsage(err) || key != "" {
		t.Errorf("a second one of the name: %q, %v", key, err)
	}
	if key, err := k.Replace("phone"); !cli.IsUsage(err) || key != "" {
		t.Errorf("one in place of none: %q, %v", key, err)
	}
	again, err := k.Replace("laptop")
	if err != nil || again == laptop {
		t.Fatal(err)
	}
	if err := k.Revoke("laptop"); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{k.Revoke("laptop"), k.Revoke(DefaultKey), k.Revoke("")} {
		if !cli.IsUsage(err) || cli.HintOf(err) == "" {
			t.Errorf("%v", err)
		}
	}
	for _, k := range []*Keys{k, openKeys(t, dir)} { // in memory, and on the disk
		if got, _ := k.Key(DefaultKey); got != first || !slices.Equal(names(k.List()), []string{DefaultKey}) {
			t.Errorf("%v; the default is %q, want %q", names(k.List()), got, first)
		}
		revoked := revokedKeys(k)
		if len(revoked) != 2 || revoked[0].Hash != sha256.Sum256([]byte(laptop)) || revoked[1].Hash != sha256.Sum256([]byte(again)) || revoked[1].Name != "laptop" {
			t.Errorf("revoked: %+v", revoked)
		}
	}
	if text, _ := os.ReadFile(filepath.Join(dir, "keys")); strings.Contains(string(text), laptop) || strings.Contains(string(text), again) {
		t.Error("a revoked key still stands in the file")
	}
}

func TestReadKeysMakesNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	k, err := ReadKeys(dir)
	if err != nil || len(k.List()) != 0 {
		t.Errorf("%v, %v", k.List(), err)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the folder: %v", err)
	}
}

func TestKeyNames(t *testing.T) {
	k := openKeys(t, t.TempDir())
	for _, name := range []string{"a", "A-1_b.c", strings.Repeat("x", 64), "-", "..", "revoked"} {
		if _, err := k.New(name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, name := range []string{"", "a b", "a\nb", "ü", "a:b", "revoked:x", strings.Repeat("x", 65), "none", "unknown", "client-key-file", "#x", "a/b", `a"b`} {
		if _, err := k.New(name); !cli.IsUsage(err) {
			t.Errorf("%q: %v", name, err)
		}
	}
	if again, err := ReadKeys(filepath.Dir(k.path)); err != nil || len(again.List()) != 7 {
		t.Errorf("%v, %v", again.List(), err)
	}
}

// TestReloadsAtOnce: what one of them has taken up isn't undone by one that began before.
func TestReloadsAtOnce(t *testing.T) {
	dir := t.TempDir()
	k := openKeys(t, dir)
	without, err := os.ReadFile(k.path)
	if err != nil {
		t.Fatal(err)
	}
	with := append(slices.Clone(without), "laptop patrol-aaaaaaaaaaaaaaaaaaaaaaaaaa 2026-01-02T03:04:05Z\n"...)
	put := func(content []byte) { // as a command does, but without a sync
		if err := errors.Join(os.WriteFile(k.path+".test", content, 0o600), os.Rename(k.path+".test", k.path)); err != nil {
			t.Fatal(err)
		}
	}
	for range 300 {
		put(with)
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() { _ = k.Reload() })
		}
		runtime.Gosched()
		put(without)
		if err := k.Reload(); err != nil {
			t.Fatal(err)
		}
		all.Wait()
		if _, ok := k.Key("laptop"); ok {
			t.Fatal("a key is there again that had been taken out of the file")
		}
	}
}

// TestSaveKeys: what a running service knows survives the loss of the file.
func TestSaveKeys(t *testing.T) {
	const at = " 2026-01-02T03:04:05Z\n"
	const theirs = "patrol-tttttttttttttttttttttttttt"
	for name, c := range map[string]struct {
		lose    func(k *Keys, revoked string) error
		inForce []string
		def     string // the default key; "": ours, "new": one of its own
	}{
		"untouched": {inForce: []string{"default", "laptop"}, lose: func(*Keys, string) error { return nil }},
		"gone":      {inForce: []string{"default", "laptop"}, lose: func(k *Keys, _ string) error { return os.Remove(k.path) }},
		"with its folder": {inForce: []string{"default", "laptop"}, lose: func(k *Keys, _ string) error {
			return os.RemoveAll(filepath.Dir(k.path))
		}},
		"empty": {inForce: []string{"default", "laptop"}, lose: func(k *Keys, _ string) error { return os.Truncate(k.path, 0) }},
		"another's": {inForce: []string{"default"}, def: theirs, lose: func(k *Keys, _ string) error {
			return os.WriteFile(k.path, []byte("default "+theirs+at), 0o600)
		}},
		"an older one, where the default is one that was revoked": {inForce: []string{"default"}, def: "new", lose: func(k *Keys, revoked string) error {
			return os.WriteFile(k.path, []byte("default "+revoked+at), 0o600)
		}},
		"without a default": {inForce: []string{"default"}, def: "new", lose: func(k *Keys, _ string) error {
			return os.WriteFile(k.path, []byte("# none\n"), 0o600)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "state")
			k := openKeys(t, dir)
			revoked, _ := k.Key(DefaultKey)
			ours, err := k.Replace(DefaultKey)
			if err == nil {
				_, err = k.New("laptop")
			}
			if err = errors.Join(err, c.lose(k, revoked)); err != nil {
				t.Fatal(err)
			}
			before, _ := os.ReadFile(k.path)
			if err := errors.Join(k.Reload(), k.Save()); err != nil {
				t.Fatal(err)
			}
			if after, _ := os.ReadFile(k.path); name == "untouched" && string(after) != string(before) || k.Missing() {
				t.Errorf("the file was\n%s\nand is\n%s", before, after)
			}
			for _, k := range []*Keys{k, openKeys(t, dir)} { // in memory, and on the disk
				def, _ := k.Key(DefaultKey)
				right := def == cmp.Or(c.def, ours)
				if c.def == "new" {
					right = def != "" && def != ours && def != revoked
				}
				if all := revokedKeys(k); !right || !slices.Equal(names(k.List()), c.inForce) || len(all) != 1 || all[0].Hash != sha256.Sum256([]byte(revoked)) {
					t.Errorf("default %q (ours %q), in force %v, revoked %v", def, ours, names(k.List()), names(all))
				}
			}
		})
	}
}

// TestKeysOfSeveralProcesses has several write the file at once.
func TestKeysOfSeveralProcesses(t *testing.T) {
	dir := t.TempDir()
	const many = 8
	var all sync.WaitGroup
	defaults := make([]string, many)
	for i := range many {
		all.Go(func() {
			k, err := OpenKeys(dir)
			if err == nil {
				defaults[i], _ = k.Key(DefaultKey)
				_, err = k.New(fmt.Sprint("k", i))
			}
			if err == nil && i%2 == 0 {
				err = k.Revoke(fmt.Sprint("k", i))
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	k := openKeys(t, dir)
	if len(k.List()) != 1+many/2 || len(revokedKeys(k)) != many/2 {
		t.Errorf("in force: %v, revoked: %v", names(k.List()), names(revokedKeys(k)))
	}
	if slices.Sort(defaults); defaults[0] == "" || defaults[0] != defaults[many-1] {
		t.Error("there was more than one default key")
	}
}

// TestReplaceAtOnce: each of those who replace a key at once gets one of its own, and the
// last of them is in force.
func TestReplaceAtOnce(t *testing.T) {
	dir := t.TempDir()
	openKeys(t, dir)
	const many = 8
	var all sync.WaitGroup
	got := make([]string, many)
	for i := range many {
		all.Go(func() {
			k, err := ReadKeys(dir)
			if err == nil {
				got[i], err = k.Replace(DefaultKey)
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	k := openKeys(t, dir)
	inForce, revoked := k.All()
	if now, _ := k.Key(DefaultKey); len(inForce) != 1 || len(revoked) != many || !slices.Contains(got, now) {
		t.Errorf("%d in force, %d revoked, want 1 and %d", len(inForce), len(revoked), many)
	}
	if slices.Contains(revoked, inForce[0]) || len(slices.Compact(slices.Sorted(slices.Values(got)))) != many {
		t.Error("the key in force is revoked, or two got the same")
	}
}

// TestReplaceStops where another program has replaced the key meanwhile, as it may where
// the disk has no locks: two of them would undo each other.
func TestReplaceStops(t *testing.T) {
	const first, ours, theirs = "patrol-a", "patrol-b", "patrol-c"
	change := replaceKey(DefaultKey)
	for _, now := range []string{first, ours, first} { // the last: an editor wrote what it had read
		var f keysFile
		f.add(DefaultKey, now)
		err := change(&f, ours)
		if l, _ := f.find(DefaultKey); err != nil || l.secret != ours {
			t.Errorf("%s became %s, %v", now, l.secret, err)
		}
	}
	var f keysFile
	f.add(DefaultKey, theirs)
	err := change(&f, ours)
	if l, _ := f.find(DefaultKey); err == nil || cli.HintOf(err) == "" || l.secret != theirs {
		t.Errorf("another's became %s, %v", l.secret, err)
	}
}

// TestRevokedIsNotInForce, whatever else the file says: a default key is made anew.
func TestRevokedIsNotInForce(t *testing.T) {
	dir := t.TempDir()
	const key, at = "patrol-aaaaaaaaaaaaaaaaaaaaaaaaaa", " 2026-01-02T03:04:05Z\n"
	text := fmt.Sprintf("default %s%srevoked:laptop %x%s", key, at, sha256.Sum256([]byte(key)), at)
	if err := os.WriteFile(filepath.Join(dir, "keys"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	k := openKeys(t, dir)
	if now, ok := k.Key(DefaultKey); !ok || now == key || len(k.List()) != 1 || len(revokedKeys(k)) != 1 {
		t.Errorf("the default is %q, in force %v", now, names(k.List()))
	}
}

func TestKeysFileErrors(t *testing.T) {
	const at = " 2026-01-02T03:04:05Z\n"
	good := "# mine\n\ndefault patrol-aaaaaaaaaaaaaaaaaaaaaaaaaa" + at + "revoked:x " + strings.Repeat("ab", 32) + at
	for text, line := range map[string]int{
		good: 0,
		good + "x patrol-bbbbbbbbbbbbbbbbbbbbbbbbbb\n":              5,
		good + "x patrol-bbbbbbbbbbbbbbbbbbbbbbbbbb yesterday\n":    5,
		good + "x secret-bbbbbbbbbbbbbbbbbbbbbbbbbb" + at:           5,
		good + "x patrol-b" + at:                                    5,
		good + "x/y patrol-bbbbbbbbbbbbbbbbbbbbbbbbbb" + at:         5,
		good + "revoked:y abab" + at:                                5,
		good + "default patrol-bbbbbbbbbbbbbbbbbbbbbbbbbb" + at:     5,
		"default patrol-bbbbbbbbbbbbbbbbbbbbbbbbbb 2026-01-02T03:0": 1, // torn
	} {
		dir := t.TempDir()
		path := filepath.Join(dir, "keys")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		k, err := OpenKeys(dir)
		if line == 0 {
			if err != nil || !slices.Equal(names(k.List()), []string{DefaultKey}) || len(revokedKeys(k)) != 1 {
				t.Errorf("%v", err)
			}
			if _, err := k.New("x"); err != nil {
				t.Error(err)
			}
			if now, _ := os.ReadFile(path); !strings.HasPrefix(string(now), good) {
				t.Errorf("more than a line has changed:\n%s", now)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), fmt.Sprint("line ", line)) || strings.Contains(err.Error(), "bbbb") || cli.HintOf(err) == "" {
			t.Errorf("%v, want an error that names line %d and no key", err, line)
		}
		if now, _ := os.ReadFile(path); string(now) != text {
			t.Error("a file that can't be read was overwritten")
		}
	}
}

// TestRevokedKeysAreBounded: the oldest are forgotten.
func TestRevokedKeysAreBounded(t *testing.T) {
	var f keysFile
	for i := range maxRevoked + 2 {
		f.add("x", fmt.Sprint(i))
		f.revoke("x")
	}
	f.add("y", "y")
	all := f.list(true)
	var before keysFile
	before.add("x", "older")
	before.revoke("x")
	was := slices.Clone(f)
	if f.remember(before); !slices.Equal(f, was) {
		t.Error("one that was forgotten is remembered in place of a newer one")
	}
	if len(all) != maxRevoked || all[0].Hash != sha256.Sum256([]byte("2")) || len(f.list(false)) != 1 {
		t.Errorf("%d revoked", len(all))
	}
}
