package main

import (
	"errors"
	"fmt"
	"os"

	"patrol/rotator"
)

// ready says why there is no token that works, and what to do about it. Who
// asks the service has no other place for the hint of an error.
func (c *core) ready() error {
	err := c.rotator.Ready()
	if e, ok := errors.AsType[*exitError](err); ok && e.hint != "" {
		err = fmt.Errorf("%w: %s", err, e.hint)
	}
	if c.minter != nil && errors.Is(err, rotator.ErrNeedsLogin) {
		err = fmt.Errorf("%w; %s, which mints then (--mint-profile), has not yet: patrol doctor says why", err, c.minter)
	}
	return err
}

// fileStatuses returns how the files' last writes went, and looks whether
// something else stands in a file's place since: a rotation, which would find it,
// may be hours away.
func (c *core) fileStatuses() []fileStatus {
	files := c.rotator.Status().Files
	for i := range files {
		f := &files[i]
		if info, err := os.Stat(f.Path); err == nil && f.Error == "" && !info.Mode().IsRegular() {
			f.Error = notAFile(f.Path, info.Mode()).Error()
		}
	}
	return files
}

// notAFile says what stands in a file's place.
func notAFile(path string, mode os.FileMode) error {
	what := "something that is no file"
	switch {
	case mode.IsDir():
		what = "a folder"
	case mode&os.ModeNamedPipe != 0:
		what = "a named pipe"
	case mode&os.ModeSocket != 0:
		what = "a socket"
	case mode&os.ModeDevice != 0:
		what = "a device"
	}
	return hinted(fmt.Errorf("%s is %s, and should be a file", path, what), "move it away: patrol makes the file")
}

// fileWarnings says which credential files can't be written, for /readyz. No
// supervisor should restart or starve a patrol for that: it serves, and a start
// would find the same file. The profile's comes first in files.
func fileWarnings(files []fileStatus) []string {
	var all []string
	for i, f := range files {
		if f.Error == "" {
			continue
		}
		then := "it is tried again until it can be"
		if i == 0 {
			then = "no new token is minted until it can be"
		}
		all = append(all, redact(f.Name+" can't be written: "+f.Error+"; "+then))
	}
	return all
}
