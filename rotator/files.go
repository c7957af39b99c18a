package rotator

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// FileInfo is what patrol knows of one credential file.
type FileInfo struct {
	Name string `json:"name"`
	Path string `json:"path"`

	// Error is why the file doesn't hold the token in use; "" if it does, or if
	// there is nothing in it that is patrol's to replace.
	Error string `json:"error,omitempty"`

	// Left says in words what was left alone in the file, and why.
	Left []string `json:"left_alone,omitempty"`

	// Written is when the file was last found or made to hold what it should;
	// zero if that never was since the start.
	Written time.Time `json:"written,omitzero"`

	// Cleared says, of a logout only, that a token stood where patrol puts it. If there
	// is an error too, the file may hold it still.
	Cleared bool `json:"cleared,omitempty"`
}

// files are the credential files, and how their last writes went.
type files struct {
	all   []File // the profile first: it is where a restart finds its token
	inUse func() credential
	log   *slog.Logger

	// writeMu is held while the files are read and written: one token at a time,
	// or an older could overwrite a newer. It is held over the disk, and taken
	// before mu and before the chain's.
	writeMu sync.Mutex

	mu    sync.Mutex // guards infos; held over nothing that blocks
	infos []FileInfo // as all
}

func newFiles(profile File, agents []File, inUse func() credential, log *slog.Logger) *files {
	f := &files{all: append([]File{profile}, agents...), inUse: inUse, log: log}
	for _, file := range f.all {
		f.infos = append(f.infos, FileInfo{Name: file.Name(), Path: file.Path()})
	}
	return f
}

// Check asks every file whether it could be replaced now. One that couldn't is
// noted as if it had been written in vain: it is tried again, and shown.
func (f *files) Check() (profile, agents error) {
	f.writeMu.Lock() // or a Write meanwhile could find the files locked
	defer f.writeMu.Unlock()
	for i, file := range f.all {
		err := file.Check()
		if i == 0 {
			profile = err
		} else {
			agents = errors.Join(agents, err)
		}
		if info := f.Infos()[i]; err != nil && info.Error == "" {
			f.note(i, info.Left, err)
		}
	}
	return profile, agents
}

// Write writes the token that is in use once the files are free to be written
// into each of them. It returns which token that was, and how each file fared.
// One that fails holds back no other. mayReplace is as for File.Write; hold is why the
// profile is not to be written now, nil if it is.
func (f *files) Write(mayReplace func(hash string) bool, hold error) (written credential, infos []FileInfo) {
	f.writeMu.Lock()
	defer f.writeMu.Unlock()
	written = f.inUse()
	if written.IsZero() {
		return written, f.Infos()
	}
	for i, file := range f.all {
		var left []string
		err := hold
		if i > 0 || hold == nil {
			left, err = file.Write(written.Token, mayReplace)
		}
		f.note(i, left, err)
	}
	return written, f.Infos()
}

// NoteProfile notes why the profile doesn't hold the token in use.
func (f *files) NoteProfile(err error) { f.note(0, nil, err) }

// Clear takes the tokens out of every file that gone knows by their hash, and
// returns how each fared. One that fails holds back no other.
func (f *files) Clear(gone func(hash string) bool) (all []FileInfo) {
	f.writeMu.Lock()
	defer f.writeMu.Unlock()
	for i, file := range f.all {
		cleared, left, err := file.Clear(gone)
		f.note(i, left, err)
		info := f.Infos()[i]
		info.Cleared = cleared
		all = append(all, info)
	}
	return all
}

// note keeps how a write of file i went, and logs what is new in it.
func (f *files) note(i int, left []string, err error) {
	f.mu.Lock()
	info := &f.infos[i]
	old := *info
	info.Left, info.Error = left, errText(err)
	if err == nil {
		info.Written = time.Now().Round(0)
	}
	f.mu.Unlock()
	switch {
	case err != nil && old.Error != err.Error():
		f.log.Error("a credential file can't be written: it will be tried again", "file", info.Name, "path", info.Path, "err", err)
	case err == nil && old.Error != "":
		f.log.Info("a credential file has been written again", "file", info.Name, "path", info.Path)
	}
	if len(left) > 0 && !slices.Equal(left, old.Left) {
		f.log.Warn("values that aren't patrol's were left alone", "file", info.Name, "path", info.Path, "left", left)
	}
}

// Infos returns how each file's last write went, the profile's first.
func (f *files) Infos() []FileInfo {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.infos)
}

// failures returns why files don't hold the token in use, nil if all do.
func failures(infos []FileInfo) error {
	var all error
	for _, info := range infos {
		if info.Error != "" {
			all = errors.Join(all, fmt.Errorf("%s: %s", info.Name, info.Error))
		}
	}
	return all
}

// Holders returns the paths of the files that hold the token with this hash.
func (f *files) Holders(hash string) ([]string, error) {
	f.writeMu.Lock()
	defer f.writeMu.Unlock()
	var paths []string
	var all error
	for _, file := range f.all {
		holds, err := file.Holds(hash)
		all = errors.Join(all, err)
		if holds {
			paths = append(paths, file.Path())
		}
	}
	return paths, all
}

// writeFiles writes the token in use into the files, and records that it stands
// in the profile once it does.
func (r *Rotator) writeFiles() []FileInfo {
	_, _, _ = r.observeProfile()
	written, infos := r.files.Write(r.mayReplace, r.discovery.profile.get().beingTyped())
	if written.IsZero() || infos[0].Error != "" {
		return infos
	}
	var names []string
	for _, info := range infos {
		if info.Error == "" {
			names = append(names, info.Name)
		}
	}
	if e, isNew := r.chain.NoteWritten(written, names); isNew {
		r.record(e)
	}
	return infos
}

// repairFiles writes the files again: what others have put back into them, and
// files that are new. Whoever has just read an old token there gets another grace.
// After a logout it takes tokens out of them instead.
func (r *Rotator) repairFiles() {
	if r.chain.State().Phase == phaseLoggedOut {
		r.files.Clear(r.isGone)
		return
	}
	for _, old := range r.queue.Items() {
		// If it can't be known who holds it, finish finds out.
		if paths, _ := r.files.Holders(old.Entry.Hash); len(paths) > 0 {
			r.queue.SeenInFile(old.Entry.Nonce)
		}
	}
	r.writeFiles()
}
