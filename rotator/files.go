package rotator

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"patrol/rotator/pat"
)

// FileState is what patrol knows of one credential file.
type FileState struct {
	Name string
	Path string

	// Err is why the file doesn't hold the current token; nil if it does, or
	// if there is nothing in it that is ours to replace.
	Err   error
	Since time.Time // since when it has been so

	// Written is when it was last found or made to hold what it should; zero
	// if that never was since the start.
	Written time.Time

	// Left says in words what was left alone in the file, and why.
	Left []string
}

// files are the credential files and how their last writes went.
type files struct {
	all []File // the profile first: it is where a restart finds its token
	log *slog.Logger

	write sync.Mutex // one token at a time, or an older could overwrite a newer
	mu    sync.Mutex
	state []FileState // as all
}

func newFiles(profile File, agents []File, log *slog.Logger) *files {
	f := &files{all: append([]File{profile}, agents...), log: log}
	for _, file := range f.all {
		f.state = append(f.state, FileState{Name: file.Name(), Path: file.Path()})
	}
	return f
}

// check asks every file whether it could be replaced now. One that couldn't is
// noted as if it had been written in vain: it is tried again, and shown.
func (f *files) check() (profile, agents error) {
	f.write.Lock() // or a put meanwhile would meet the locks that the files have themselves
	defer f.write.Unlock()
	for i, file := range f.all {
		err := file.Check()
		switch {
		case err == nil:
			continue
		case i == 0:
			profile = err
		default:
			agents = errors.Join(agents, err)
		}
		if s := f.states()[i]; s.Err == nil {
			f.note(i, s.Left, err)
		}
	}
	return profile, agents
}

// put writes t into every file and returns how each fared. One that fails
// holds back no other. The token comes from a func, asked once the files are
// ours to write: whoever waited for that writes what is current by then.
func (f *files) put(current func() pat.Token) []FileState {
	f.write.Lock()
	defer f.write.Unlock()
	t := current()
	if t.IsZero() {
		return f.states()
	}
	for i, file := range f.all {
		left, err := file.Write(t)
		f.note(i, left, err)
	}
	return f.states()
}

// clear takes the tokens out of every file that gone knows by their hash, and
// returns how each fared. One that fails holds back no other.
func (f *files) clear(gone func(hash string) bool) []ClearedFile {
	f.write.Lock()
	defer f.write.Unlock()
	var all []ClearedFile
	for i, file := range f.all {
		cleared, left, err := file.Clear(gone)
		f.note(i, left, err)
		all = append(all, ClearedFile{Name: file.Name(), Path: file.Path(), Cleared: cleared, Left: left, Error: text(err)})
	}
	return all
}

// note keeps how a write of file i went, and logs what is new in it.
func (f *files) note(i int, left []string, err error) {
	f.mu.Lock()
	s := &f.state[i]
	old := *s
	s.Left, s.Err = left, err
	if (err == nil) != (old.Err == nil) || old.Since.IsZero() {
		s.Since = time.Now()
	}
	if err == nil {
		s.Written = time.Now().Round(0)
	}
	f.mu.Unlock()
	switch {
	case err != nil && (old.Err == nil || old.Err.Error() != err.Error()):
		f.log.Error("a credential file can't be written: it will be tried again", "file", s.Name, "path", s.Path, "err", err)
	case err == nil && old.Err != nil:
		f.log.Info("a credential file has been written again", "file", s.Name, "path", s.Path)
	}
	if len(left) > 0 && !slices.Equal(left, old.Left) {
		f.log.Warn("values that aren't patrol's were left alone", "file", s.Name, "path", s.Path, "left", left)
	}
}

// states returns how each file's last write went, the profile's first.
func (f *files) states() []FileState {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.state)
}

// failing returns the errors of the files that don't hold the current token.
func failing(states []FileState) error {
	var all error
	for _, s := range states {
		if s.Err != nil {
			all = errors.Join(all, fmt.Errorf("%s: %w", s.Name, s.Err))
		}
	}
	return all
}

// holders returns the paths of the files that hold the token with this hash.
func (f *files) holders(hash string) ([]string, error) {
	f.write.Lock()
	defer f.write.Unlock()
	var paths []string
	var all error
	for _, file := range f.all {
		holds, err := file.Holds(hash)
		if err != nil {
			all = errors.Join(all, err)
		}
		if holds {
			paths = append(paths, file.Path())
		}
	}
	return paths, all
}
