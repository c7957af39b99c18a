package main

import (
	"errors"
	"fmt"
)

// ready says why there is no token that works, and what to do about it. Who
// asks the service has no other place for the hint of an error.
func (c *core) ready() error {
	err := c.rotator.Ready()
	if e, ok := errors.AsType[*exitError](err); ok && e.hint != "" {
		return fmt.Errorf("%w: %s", err, e.hint)
	}
	return err
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
