package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"patrol/rotator/atomicfile"
)

// A holder is the patrol that has a state's lock, or had it last.
type holder struct {
	PID     int    `json:"pid"`
	Command string `json:"command"` // "rotate"
	Profile string `json:"profile"`
}

// serveCommand is the command of a holder that is a service.
const serveCommand = "serve"

// holderName is the file's name in the state folder.
const holderName = "holder"

// String names it for messages.
func (h holder) String() string { return fmt.Sprintf("pid %d, patrol %s", h.PID, h.Command) }

// readHolder returns the zero holder if the state doesn't say.
func readHolder(stateDir string) (h holder) {
	raw, err := os.ReadFile(filepath.Join(stateDir, holderName))
	if err != nil || json.Unmarshal(raw, &h) != nil {
		return holder{}
	}
	return h
}

// write records h in the state folder, whose lock it must have. A reader sees
// all of it or what was there before.
func (h holder) write(stateDir string) error {
	raw, err := json.Marshal(h)
	if err != nil {
		return fmt.Errorf("encoding who uses the state: %w", err)
	}
	if err := atomicfile.Write(filepath.Join(stateDir, holderName), append(raw, '\n')); err != nil {
		return fmt.Errorf("recording who uses the state: %w", err)
	}
	return nil
}

// alive reports whether the holder's process is there, as far as can be seen
// from here.
func (h holder) alive() bool {
	if h.PID <= 0 {
		return false
	}
	p, err := os.FindProcess(h.PID)
	if err != nil {
		return false
	}
	err = p.Signal(syscall.Signal(0))
	return err == nil || errors.Is(err, os.ErrPermission)
}

// lone reports whether the holder is a living patrol that isn't a service: it
// ends by itself, if only after a grace.
func (h holder) lone() bool { return h.Command != serveCommand && h.alive() }

// stillHeld says that the state was not given back.
func (h holder) stillHeld(stateDir string) error {
	switch {
	case h.lone():
		return hinted(fmt.Errorf("another patrol is using the state in %s: %s", stateDir, h),
			"it ends by itself, with --wait-revoke only after the grace: try again then, or end it")
	case h.alive():
		return muteError(stateDir, fmt.Errorf("%s has no control socket", h))
	}
	return muteError(stateDir, errors.New("it has no control socket"))
}
