// Package state knows the folder in which a patrol keeps what outlives it: where
// it is, that nobody else may write there, and which patrol uses it.
package state

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"syscall"

	"patrol/cmd/patrol/internal/cli"
	"patrol/rotator/atomicfile"
)

// Base returns the folder below which each profile's state has its own.
func Base(env cli.Env) (string, error) {
	// The XDG specification has relative paths ignored.
	if dir := env.Get("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "patrol"), nil
	}
	home, err := env.Home()
	return filepath.Join(home, ".local", "state", "patrol"), err
}

// Dir returns the folder of a profile's ledger, lock and control socket. It
// makes nothing.
func Dir(o cli.Options, profile string) (string, error) {
	if o.StateDir != "" {
		return o.StateDir, nil
	}
	base, err := Base(o.Env)
	return filepath.Join(base, folderName(profile)), err
}

var (
	// plainName matches profiles that are their own folder's name.
	plainName = regexp.MustCompile(`^([a-z0-9][a-z0-9._-]{0,63}|DEFAULT)$`)

	// notPlain matches what stands in no other folder's name.
	notPlain = regexp.MustCompile(`[^A-Za-z0-9_-]`)
)

// folderName makes a folder's name of a profile's. Two profiles never share
// one, also on file systems that don't tell upper from lower case.
func folderName(profile string) string {
	if plainName.MatchString(profile) && profile != "default" {
		return profile
	}
	const enough = 40
	sum := sha256.Sum256([]byte(profile))
	name := notPlain.ReplaceAllString(profile, "_")
	return name[:min(len(name), enough)] + "-" + hex.EncodeToString(sum[:8])
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

// CheckPrivate makes sure that dir is a folder, ours, and closed to others, and that no
// folder above it is a stranger's. A link is as good as what it leads to.
func CheckPrivate(dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("looking at patrol's folder: %w", err)
	}
	if !info.IsDir() {
		return cli.Hinted(fmt.Errorf("%s is not a folder", dir), "move it away, or choose another with --state-dir")
	}
	uid, ok := OwnerOf(info)
	if ok && uid != os.Geteuid() {
		return cli.Hinted(fmt.Errorf("%s belongs to uid %d, and patrol runs as uid %d", dir, uid, os.Geteuid()),
			"choose another folder with --state-dir, or run patrol as the owner")
	}
	if ok && info.Mode().Perm()&0o077 != 0 {
		hint := "if nobody else uses it: chmod 700 " + dir + "; else name another folder with --state-dir"
		if info.Mode()&fs.ModeSticky != 0 { // as /tmp
			hint = "name a folder that is patrol's alone with --state-dir; it makes what is missing"
		}
		return cli.Hinted(fmt.Errorf("%s is open to others (mode %04o)", dir, info.Mode().Perm()), hint)
	}
	_, err = lookAbove(dir)
	return err
}

// A Holder is the patrol that has a state's lock, or had it last.
type Holder struct {
	PID     int    `json:"pid"`
	Command string `json:"command"` // "rotate"
	Profile string `json:"profile"`
}

// ServeCommand is the command of a holder that is a service.
const ServeCommand = "serve"

// holderName is the file's name in the state folder.
const holderName = "holder"

// String names it for messages.
func (h Holder) String() string {
	if !h.Alive() {
		return "a process that can't be seen from here"
	}
	return fmt.Sprintf("pid %d, patrol %s", h.PID, h.Command)
}

// ReadHolder returns the zero Holder if the state doesn't say.
func ReadHolder(stateDir string) (h Holder) {
	raw, err := os.ReadFile(filepath.Join(stateDir, holderName))
	if err != nil || json.Unmarshal(raw, &h) != nil {
		return Holder{}
	}
	return h
}

// Write records h in the state folder, whose lock it must have. A reader sees
// all of it or what was there before.
func (h Holder) Write(stateDir string) error {
	raw, _ := json.Marshal(h) // numbers and strings can be encoded
	if err := atomicfile.Write(filepath.Join(stateDir, holderName), append(raw, '\n')); err != nil {
		return fmt.Errorf("recording who uses the state: %w", err)
	}
	return nil
}

// Alive reports whether the holder's process is there, as far as can be seen
// from here.
func (h Holder) Alive() bool {
	if h.PID <= 0 {
		return false
	}
	p, err := os.FindProcess(h.PID)
	if err == nil {
		err = p.Signal(syscall.Signal(0))
	}
	return err == nil || errors.Is(err, os.ErrPermission)
}

// OneShot reports whether the holder is a living patrol that isn't a service: it
// ends by itself, if only after a grace.
func (h Holder) OneShot() bool { return h.Command != ServeCommand && h.Alive() }
