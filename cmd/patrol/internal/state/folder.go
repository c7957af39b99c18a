// Package state knows the folder in which a patrol keeps what outlives it: where
// it is, that nobody else may write there, and which patrol uses it.
package state

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"patrol/cmd/patrol/internal/cli"
)

// Base returns the folder below which each profile's state has its own.
func Base(env cli.Env) (string, error) {
	home, err := env.StateHome()
	return filepath.Join(home, "patrol"), err
}

// Dir returns the folder of a profile's ledger, lock and control socket. It
// makes nothing.
func Dir(o cli.Options, profile string) (string, error) {
	if o.StateDir != "" {
		return o.StateDir, nil
	}
	base, err := Base(o.Env)
	if err != nil {
		return "", err
	}
	return filepath.Join(base, folderName(profile)), nil
}

// plainName matches profiles that are their own folder's name.
var plainName = regexp.MustCompile(`^([a-z0-9][a-z0-9._-]{0,63}|DEFAULT)$`)

// folderName makes a folder's name of a profile's. Two profiles never share
// one, also on file systems that don't tell upper from lower case.
func folderName(profile string) string {
	if plainName.MatchString(profile) && profile != "default" {
		return profile
	}
	const enough = 40
	var b strings.Builder
	for _, r := range profile {
		switch {
		case b.Len() >= enough:
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '_':
			b.WriteRune(r)
		default:
			b.WriteRune('_')
		}
	}
	return b.String() + "-" + ShortHash(profile)
}

// ShortHash tells names apart in places where there is no room for them.
func ShortHash(s string) string {
	sum := sha256.Sum256([]byte(s))
	const enough = 8
	return hex.EncodeToString(sum[:enough])
}

// MakePrivate makes dir and what is missing above it, for nobody but us, and
// refuses a folder that is there and open to others: who can write to it decides
// which tokens patrol revokes. It doesn't change the mode of what it finds: it
// may be /tmp.
func MakePrivate(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return cli.Hinted(fmt.Errorf("making the folder for patrol's state: %w", err), "choose another with --state-dir")
	}
	return CheckPrivate(dir)
}

// CheckPrivate makes sure that dir is a folder, ours, and closed to others. A
// link is as good as what it leads to.
func CheckPrivate(dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("looking at patrol's folder: %w", err)
	}
	if !info.IsDir() {
		return cli.Hinted(fmt.Errorf("%s is not a folder", dir), "move it away, or choose another with --state-dir")
	}
	var wrong error
	hint := "run patrol as the owner, or choose another folder with --state-dir"
	if uid, ok := OwnerOf(info); ok && uid != os.Geteuid() {
		wrong = fmt.Errorf("%s belongs to uid %d, and patrol runs as uid %d", dir, uid, os.Geteuid())
	} else if ok && info.Mode().Perm()&0o077 != 0 {
		wrong = fmt.Errorf("%s is open to others (mode %04o)", dir, info.Mode().Perm())
		hint = "chmod 700 " + dir + ", or choose another folder with --state-dir"
	}
	if wrong == nil {
		return nil
	}
	if !isPatrols(dir, info) {
		hint = "name a folder that is patrol's alone with --state-dir; it makes what is missing"
	}
	return cli.Hinted(wrong, hint)
}

// isPatrols reports whether a folder is for a patrol alone: by what is in it, or
// because nothing is. Whoever else uses one, and /tmp above all, needs its mode.
func isPatrols(dir string, info fs.FileInfo) bool {
	if info.Mode()&fs.ModeSticky != 0 {
		return false
	}
	if ReadHolder(dir) != (Holder{}) {
		return true
	}
	entries, err := os.ReadDir(dir)
	return err == nil && !slices.ContainsFunc(entries, func(e fs.DirEntry) bool {
		return e.Name() != "ledger" && e.Name() != "lock" && !strings.HasSuffix(e.Name(), ".sock")
	})
}
