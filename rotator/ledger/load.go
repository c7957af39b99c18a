package ledger

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// load reads the file into l.
func (l *Ledger) load(instance string) error {
	kept, _ := readNote(l.dir, instanceName)
	got, err := l.examine(filepath.Join(l.dir, fileName))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if l.memory.incomplete = kept != ""; l.memory.incomplete {
			l.log.Warn("the ledger is gone, and a new one is begun: tokens that it knew are looked for in the workspace's list", "folder", l.dir)
		}
	case err != nil:
		return err
	default:
		l.memory.incomplete = got.rotten || got.gaps
	}
	l.instance = cmp.Or(instance, got.instance, kept, instanceOf(got.entries))
	if l.instance == "" {
		l.instance = newInstance()
		if l.memory.incomplete {
			l.log.Warn("the name of this patrol is lost with its ledger: what it minted under that name is left to expire", "now", l.instance)
		}
	}
	if _, l.folder = readNote(l.dir, folderName); len(l.folder) != folderDigits {
		l.folder = FolderOf(RandomNonce())
	}
	for _, e := range got.entries {
		l.memory.remember(e)
	}
	l.memory.prune(l.now().Add(-keepEnded))
	return nil
}

// examine reads the ledger file at path. One that is corrupt it sets aside.
func (l *Ledger) examine(path string) (contents, error) {
	data, err := readFile(path)
	if err != nil {
		return contents{}, fmt.Errorf("reading the ledger: %w", err)
	}
	got := parse(data)
	if got.newer {
		return contents{}, newerError(path)
	}
	if !got.rotten {
		return got, nil
	}
	aside := fmt.Sprintf("%s.corrupt-%s", path, l.now().UTC().Format("20060102T150405Z"))
	if err := os.WriteFile(aside, data, 0o600); err != nil {
		return contents{}, fmt.Errorf("setting a corrupt ledger aside: %w", err)
	}
	l.log.Warn("the ledger is corrupt: set aside, and rebuilt from what is whole in it", "aside", aside, "bytes", len(data), "entries", len(got.entries))
	return got, nil
}

func newerError(path string) error {
	return fmt.Errorf("%s was written by a newer patrol, and this one would lose what is in it: run that version, or name another folder with --state-dir", path)
}

// readFile is os.ReadFile for what must be a file: it doesn't wait for a pipe
// to be written.
func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no file (%v): move it away", path, info.Mode().Type())
	}
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrPermission) {
		return nil, fmt.Errorf("%w: make it readable to the user who runs patrol", err)
	}
	return data, err
}

// contents is what parse finds in a ledger file.
type contents struct {
	instance string
	entries  []Entry // each line's, in order
	rotten   bool    // the header, or a line before the last, isn't whole
	gaps     bool    // an earlier file had rotted
	newer    bool    // it has a format that isn't known here
}

func parse(data []byte) contents {
	var got contents
	headed := false
	for len(data) > 0 {
		line, rest, terminated := bytes.Cut(data, []byte{'\n'})
		data = rest
		var head header
		var e Entry
		switch {
		case decode(line, &e) && e.Nonce != "" && terminated:
			got.entries = append(got.entries, e)
		case decode(line, &head) && head.Version != 0:
			headed = true
			got.instance = head.Instance
			got.gaps = got.gaps || head.Gaps
			got.newer = got.newer || head.Version > version
			got.rotten = got.rotten || head.Version < version
		case terminated || len(data) > 0:
			got.rotten = true
		}
	}
	got.rotten = got.rotten || !headed
	return got
}

// Read returns the instance and the entries of the ledger in dir, oldest
// first, without locking it: a look at what another process is doing. A
// ledger that isn't there is empty.
func Read(dir string) (instance string, entries []Entry, err error) {
	path := filepath.Join(dir, fileName)
	data, err := readFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil, nil
	}
	if err != nil {
		return "", nil, fmt.Errorf("reading the ledger: %w", err)
	}
	got := parse(data)
	if got.newer {
		return "", nil, newerError(path)
	}
	known := newMemory()
	for _, e := range got.entries {
		known.remember(e)
	}
	noted, _ := readNote(dir, instanceName)
	return cmp.Or(got.instance, noted), known.list(func(Entry) bool { return true }), nil
}
