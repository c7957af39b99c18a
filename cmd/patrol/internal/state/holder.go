package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"patrol/rotator/atomicfile"
)

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
