package doctor

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"patrol/cmd/patrol/internal/cli"
	"patrol/cmd/patrol/internal/control"
	"patrol/cmd/patrol/internal/session"
	"patrol/cmd/patrol/internal/state"
	"patrol/credwriter"
	"patrol/rotator/ledger"
	"patrol/rotator/pat"
)

// checkFiles: can the credential files be written, are they closed to others, and
// what in them isn't patrol's?
func checkFiles(_ context.Context, in *input, f *findings) {
	host, _ := pat.ParseHost(in.host) // none if it isn't known
	owner := credwriter.Owner{Host: host, Ours: in.ledger.knows}
	if listens := in.listens(); len(listens) > 0 {
		owner.ProxyURL = cli.ProxyURL(listens[0])
	}
	files, err := session.Files(in.o, in.profile.Profile, owner)
	if err != nil {
		f.err("", err)
		return
	}
	for _, file := range files {
		if in.service.client != nil && !slices.ContainsFunc(in.service.status.Files, func(s control.File) bool { return s.Path == file.Path() }) {
			continue // the service was told to leave it alone
		}
		in.checkFile(f, file)
	}
}

// checkFile looks at one credential file.
func (in *input) checkFile(f *findings, file *credwriter.File) {
	path, before := file.Path(), len(f.list)
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		f.ok("%s: there is none", path)
		return
	}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		to, _ := os.Readlink(path)
		f.fail("make what it leads to, or take the link away", "%s is a link to %s, which isn't there", path, to)
		return
	case err != nil:
		f.err("", err)
		return
	case !info.Mode().IsRegular():
		f.err("", session.NotAFile(path, info.Mode()))
		return
	}
	if uid, ok := state.OwnerOf(info); ok && uid != os.Geteuid() {
		f.fail("run patrol as the owner of the file", "%s belongs to uid %d, and patrol runs as uid %d", path, uid, os.Geteuid())
		return
	} else if ok && info.Mode().Perm()&0o077 != 0 && in.isSecret(file) {
		f.fail("chmod 600 "+path, "%s is open to others (mode %04o)", path, info.Mode().Perm())
	}
	what := path
	if in.host != "" { // or whose tokens belong there isn't known
		checkContent(f, file)
		if end, err := filepath.EvalSymlinks(path); err == nil && end != filepath.Clean(path) {
			what += ", which is " + end
		}
		what += ": can be written"
	}
	if len(f.list) == before {
		f.ok("%s", what)
	}
}

// checkContent: can't the file be written, and what in it isn't patrol's?
func checkContent(f *findings, file *credwriter.File) {
	if err := file.Check(); err != nil {
		f.err("", err)
		return
	}
	left, err := file.Left()
	if err != nil {
		f.err("", err)
	}
	for _, what := range left {
		f.warn("nothing, if you mean it to be so; else take it out, and patrol puts its own there", "left alone: %s", what)
	}
}

// isSecret reports whether a file holds, or is for, tokens: an agent's settings
// without one are anybody's to read.
func (in *input) isSecret(file *credwriter.File) bool {
	return file.Path() == in.profile.File || slices.ContainsFunc(in.ledger.list, func(e ledger.Entry) bool {
		if e.Stage.Ended() || e.Hash == "" {
			return false
		}
		holds, err := file.Holds(e.Hash)
		return err != nil || holds
	})
}
