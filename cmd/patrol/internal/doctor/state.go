package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"patrol/cmd/patrol/internal/state"
)

// checkState: is the state folder ours alone, and the ledger whole and writable?
func checkState(_ context.Context, in *input, f *findings) {
	if err := in.service.status.Ledger; err != "" {
		f.fail("mend that (free the disk, or make "+in.dir+" writable for the user who runs patrol): the service then writes it by itself; "+
			"don't end it before, or it forgets which tokens it still has to revoke", "the ledger can't be written: %s", err)
		return
	}
	if !exists(in.dir) {
		f.ok("%s: not made yet", in.dir)
		return
	}
	if err := state.CheckPrivate(in.dir); err != nil {
		f.err("", err)
		return
	}
	if err := tryFolder(in.dir); err != nil {
		f.fail("free the disk, or make the folder writable for the user who runs patrol; --state-dir names another", "the ledger can't be written: %v", err)
		return
	}
	if err := in.ledger.err; err != nil {
		fix := ""
		if errors.Is(err, fs.ErrPermission) {
			fix = "it must be readable to the user who runs patrol"
		}
		f.err(fix, err)
		return
	}
	if checkStateFiles(in.dir, f); len(f.list) == 0 {
		known, alive := 0, 0
		for _, e := range in.ledger.list {
			if e.ID != "" {
				known++
			}
			if !e.Stage.Ended() {
				alive++
			}
		}
		f.ok("the ledger in %s can be written; it knows %d tokens, %d of them in use or still to be revoked", in.dir, known, alive)
	}
}

// checkStateFiles finds what is open to others, and ledgers that were corrupt.
func checkStateFiles(dir string, f *findings) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		f.err("", fmt.Errorf("reading the state folder: %w", err))
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			continue // gone meanwhile
		}
		path := filepath.Join(dir, e.Name())
		switch _, owned := state.OwnerOf(info); {
		case strings.Contains(e.Name(), ".corrupt-"):
			f.warn("look at the disk; then delete that file", "a ledger was corrupt, and set aside as %s", path)
		case owned && info.Mode().IsRegular() && info.Mode().Perm()&0o077 != 0:
			f.fail("chmod 600 "+path, "%s is open to others (mode %04o)", path, info.Mode().Perm())
		}
	}
}

// tryFolder writes a file into a folder and takes it away.
func tryFolder(dir string) error {
	f, err := os.CreateTemp(dir, ".doctor-")
	if err != nil {
		return err
	}
	_, err = f.WriteString("patrol doctor was here\n")
	return errors.Join(err, f.Close(), os.Remove(f.Name()))
}

// exists reports whether there is a file, as far as we may see.
func exists(path string) bool {
	_, err := os.Stat(path)
	return !errors.Is(err, fs.ErrNotExist)
}
