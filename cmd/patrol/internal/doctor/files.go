package doctor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"patrol/cmd/patrol/internal/session"
	"patrol/cmd/patrol/internal/state"
	"patrol/credwriter"
	"patrol/rotator"
	"patrol/rotator/atomicfile"
)

// checkFiles: can the credential files be written, are they closed to others, and
// what in them isn't patrol's?
func checkFiles(_ context.Context, in *input, f *findings) {
	if in.client == nil { // whose tokens belong there isn't known: checkProfile says so
		return
	}
	keys, err := state.ReadKeys(in.dir)
	if err != nil {
		f.err(err)
	}
	files, err := session.Files(in.o, in.profile.Profile, session.Owner(in.o, in.dir, nil, keys, in.client.Host(), in.knows))
	if err != nil {
		f.err(err)
		return
	}
	for _, file := range files {
		if in.service.status.Running && !slices.ContainsFunc(in.service.status.Files, func(s rotator.FileInfo) bool { return s.Path == file.Path() }) {
			continue // the service was told to leave it alone
		}
		in.checkFile(f, file)
	}
}

// checkFile looks at one credential file.
func (in *input) checkFile(f *findings, file *credwriter.File) {
	path, found := file.Path(), len(f.list)
	what := "can be written"
	if info, err := os.Stat(path); err != nil {
		what = "there is none"
	} else if in.isOpen(file, info) {
		f.fail("chmod 600 "+path, "%s is open to others (mode %04o)", path, info.Mode().Perm())
	}
	left, err := file.Left()
	if err := cmp.Or(file.Check(), err); err != nil {
		f.err(err)
	}
	for _, what := range left {
		f.warn("nothing, if you mean it to be so; else take it out, and patrol puts its own there", "left alone: %s", what)
	}
	if len(f.list) == found {
		f.ok("%s: %s", path, what)
	}
}

// isOpen reports whether others may read a file that holds, or is for, tokens: an
// agent's settings without one are anybody's to read.
func (in *input) isOpen(file *credwriter.File, info fs.FileInfo) bool {
	_, owned := state.OwnerOf(info)
	if !owned || !info.Mode().IsRegular() || info.Mode().Perm()&0o077 == 0 {
		return false
	}
	holds, err := file.Holds(in.token.Hash())
	return holds || err != nil || file.Path() == in.profile.File
}

// checkState: is the state folder ours alone, and the ledger whole and writable?
func checkState(_ context.Context, in *input, f *findings) {
	if err := in.service.status.Ledger; err != "" {
		f.fail("mend that (free the disk, or make "+in.dir+" writable for the user who runs patrol): the service then writes it by itself; "+
			"don't end it before, or it forgets which tokens it still has to revoke", "the ledger can't be written: %s", err)
		return
	}
	if _, err := os.Stat(in.dir); errors.Is(err, fs.ErrNotExist) {
		f.ok("%s: not made yet", in.dir)
		return
	}
	err := state.CheckPrivate(in.dir)
	if err == nil { // only what is ours is tried
		err = cmp.Or(in.tryState(), in.ledgerErr)
	}
	if err != nil {
		f.err(err)
		return
	}
	for _, open := range state.OpenParents(in.dir) {
		f.warn("do that, or name another state folder with --state-dir", "%s", open)
	}
	f.ok("the ledger in %s can be written", in.dir)
	corrupt, _ := fs.Glob(os.DirFS(in.dir), "*.corrupt-*")
	for _, name := range corrupt {
		f.warn("look at the disk; then delete that file", "a ledger was corrupt, and set aside as %s", filepath.Join(in.dir, name))
	}
}

// tryState tries whether a file in the state folder could be written.
func (in *input) tryState() error {
	err := atomicfile.DryRun(filepath.Join(in.dir, "doctor"), func([]byte, bool) ([]byte, error) { return []byte("patrol doctor was here\n"), nil })
	if err != nil {
		return fmt.Errorf("the ledger can't be written, and --state-dir names another folder: %w", err)
	}
	return nil
}
