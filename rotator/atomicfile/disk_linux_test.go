package atomicfile

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"patrol/rotator/processtest"
)

// refuses checks that neither DryRun nor Edit gets anywhere, that both say
// why and name the file, and that nothing has changed or is left behind.
func refuses(t *testing.T, path, content, want string) {
	t.Helper()
	before, readErr := os.ReadFile(path)
	_, err := Edit(path, to(content))
	for op, err := range map[string]error{"DryRun": DryRun(path, to(content)), "Edit": err} {
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v, want it to name %s and say %q", op, err, path, want)
		}
	}
	after, err := os.ReadFile(path)
	if !bytes.Equal(before, after) || (err == nil) != (readErr == nil) {
		t.Errorf("the file holds %q (%v)", after, err)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".*.patrol-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestFullDisk(t *testing.T) {
	if !processtest.Mounts(t) {
		return
	}
	dir := t.TempDir()
	processtest.SmallDisk(t, dir, "")
	path := filepath.Join(dir, ".databrickscfg")
	filler := strings.Repeat("# filler\n", 500)
	if err := os.WriteFile(path, []byte("old"+filler), 0o600); err != nil {
		t.Fatal(err)
	}
	free := processtest.FillDisk(t, dir)
	refuses(t, path, "new"+filler, "no space left on device: free some space on its disk")
	if err := Write(path, []byte("new"+filler)); !errors.Is(err, unix.ENOSPC) || get(t, path) != "old"+filler || !isMissing(path+".new") {
		t.Errorf("Write: %v", err)
	}
	free()
	if _, err := Edit(path, to("new"+filler)); err != nil || get(t, path) != "new"+filler {
		t.Errorf("with space again: %v", err)
	}
	// No room for another name.
	processtest.SmallDisk(t, dir, ",nr_inodes=2")
	if err := os.WriteFile(path, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	refuses(t, path, "new", "no space left on device")
}

func TestReadOnlyDisk(t *testing.T) {
	if !processtest.Mounts(t) {
		return
	}
	dir := t.TempDir()
	processtest.SmallDisk(t, dir, "")
	path := filepath.Join(dir, ".databrickscfg")
	if err := os.WriteFile(path, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Skip(err)
	}
	const want = "read-only file system: its file system is read-only"
	refuses(t, path, "new", want)
	refuses(t, filepath.Join(dir, "other"), "new", want)
	refuses(t, filepath.Join(dir, "folder", "settings.json"), "new", want)
	if content, exists, err := Read(path); string(content) != "old" || !exists || err != nil {
		t.Errorf("Read: %q, %v, %v", content, exists, err)
	}
	// Where nothing is to be written nothing is wrong.
	if err := DryRun(path+"-none", func([]byte, bool) ([]byte, error) { return nil, nil }); err != nil {
		t.Error(err)
	}
}

// TestMountedFile: containers mount single files; a rename over one fails.
func TestMountedFile(t *testing.T) {
	if !processtest.Mounts(t) {
		return
	}
	path := put(t, ".databrickscfg", "")
	inside := put(t, "real", "old")
	processtest.Mount(t, inside, path, "", unix.MS_BIND, "")
	if err := DryRun(path, to("new")); err == nil || !strings.Contains(err.Error(), "is mounted by itself and can't be replaced: mount its folder") {
		t.Errorf("DryRun: %v", err)
	}
	if _, err := Edit(path, to("new")); err == nil || !strings.Contains(err.Error(), "it may be mounted by itself") {
		t.Errorf("Edit: %v", err)
	}
	if got := get(t, inside); got != "old" {
		t.Errorf("the file holds %q", got)
	}
}

// TestOverlay: the disk of a container.
func TestOverlay(t *testing.T) {
	if !processtest.Mounts(t) {
		return
	}
	dir := t.TempDir()
	processtest.Mount(t, "patrol", dir, "tmpfs", 0, "size=1m")
	at := func(name string) string { return filepath.Join(dir, name) }
	for _, d := range []string{"lower", "upper", "work", "merged"} {
		if err := os.Mkdir(at(d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(at("lower/cfg"), []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	processtest.Mount(t, "overlay", at("merged"), "overlay", 0, fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", at("lower"), at("upper"), at("work")))
	seesWriters(t, at("merged/cfg"))
	for range 2 {
		if _, err := Edit(at("merged/cfg"), to("new")); err != nil || get(t, at("merged/cfg")) != "new" {
			t.Errorf("%q, %v", get(t, at("merged/cfg")), err)
		}
	}
}

// TestOtherUsersFiles: what patrol may not do, as a user who isn't root.
func TestOtherUsersFiles(t *testing.T) {
	const stranger = 54321
	if !processtest.IsAgain(t) {
		if os.Geteuid() != 0 {
			t.Skip("only root can make files of others")
		}
		dir := t.TempDir()
		if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			path         string
			folder, file os.FileMode
		}{
			{"closed/cfg", 0o000, 0o644},
			{"fixed/cfg", 0o755, 0o644},
			{"open/secret", 0o777, 0o600},
			{"open/cfg", 0o777, 0o644},
		} {
			path := filepath.Join(dir, c.path)
			err := errors.Join(
				os.MkdirAll(filepath.Dir(path), 0o700),
				os.WriteFile(path, []byte("old"), 0o600),
				os.Chmod(path, c.file), os.Chmod(filepath.Dir(path), c.folder), os.Chmod(dir, 0o755))
			if err != nil {
				t.Fatal(err)
			}
		}
		t.Setenv("ATOMICFILE_TEST_DIR", dir)
	}
	if !processtest.Again(t, &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: stranger, Gid: stranger}}) {
		return
	}
	dir := os.Getenv("ATOMICFILE_TEST_DIR")
	for path, want := range map[string]string{
		"closed/cfg":   "permission denied: give user 54321 the right to it",
		"fixed/cfg":    "permission denied: give user 54321 the right to it and to write its folder",
		"fixed/new":    "permission denied",
		"open/secret":  "permission denied",
		"open/cfg":     "it belongs to user 0 and patrol runs as user 54321",
		"fixed/x/y/ng": "permission denied",
	} {
		refuses(t, filepath.Join(dir, path), "new", want)
	}
	if _, err := Edit(filepath.Join(dir, "open", "new"), to("new")); err != nil {
		t.Error(err)
	}
}

// TestOwnerIsKept: a service that runs as root takes no file from its user.
func TestOwnerIsKept(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can make files of others")
	}
	path := put(t, ".databrickscfg", "old")
	if err := os.Chown(path, 1234, 5678); err != nil {
		t.Skip(err)
	}
	if err := DryRun(path, to("new")); err != nil {
		t.Fatal(err)
	}
	if _, err := Edit(path, to("new")); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if st := info.Sys().(*syscall.Stat_t); st.Uid != 1234 || st.Gid != 5678 || info.Mode() != 0o600 {
		t.Errorf("now it belongs to %d:%d with mode %v", st.Uid, st.Gid, info.Mode())
	}
}

// TestPipe: what would block a reader for ever is refused at once.
func TestPipe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "settings.json")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Skip(err)
	}
	for op, err := range operations(path) {
		if err == nil || !strings.Contains(err.Error(), "is no regular file") {
			t.Errorf("%s: %v", op, err)
		}
	}
}

func TestHasWriter(t *testing.T) {
	seesWriters(t, put(t, "cfg", "x"))
}

func seesWriters(t *testing.T, path string) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if yes, known := hasWriter(f); !known || yes {
		t.Skip("this file system grants no leases")
	}
	w, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if yes, known := hasWriter(f); !known || !yes {
		t.Error("a writer isn't seen")
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if yes, known := hasWriter(f); !known || yes {
		t.Error("a writer is seen that has gone")
	}
	// The lease is given back: nobody has to wait for us.
	if w, err = os.OpenFile(path, os.O_WRONLY|unix.O_NONBLOCK, 0); err != nil {
		t.Errorf("opening after it: %v", err)
	} else if err := w.Close(); err != nil {
		t.Error(err)
	}
}
