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

// load reads the state folder into l.
func (l *Ledger) load(instance string) error {
	got, err := l.readOrSetAside()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	noted := readNote(l.dir, instanceName).Instance
	if err != nil && noted != "" {
		got.incomplete = true
		l.log.Warn("the ledger is gone, and a new one is begun: tokens that it knew are looked for in the workspace's list", "folder", l.dir)
	}
	l.memory = got.memory
	l.memory.incomplete = got.incomplete || got.rotten
	l.memory.outdated = true // compacted
	l.memory.prune(l.now().Add(-keepEnded))
	l.instance = cmp.Or(instance, got.instance, noted, instanceOf(got.entries))
	if l.instance == "" {
		l.instance = newInstance()
		if l.memory.incomplete {
			l.log.Warn("the name of this patrol is lost with its ledger: what it minted under that name is left to expire", "now", l.instance)
		}
	}
	if l.folder = readNote(l.dir, folderName).Folder; len(l.folder) != folderDigits {
		l.folder = FolderOf(RandomNonce())
	}
	return nil
}

// readOrSetAside reads the ledger that stands in the folder. One that is corrupt it sets aside.
func (l *Ledger) readOrSetAside() (contents, error) {
	got, err := read(l.dir)
	if err != nil || !got.rotten {
		return got, err
	}
	aside := fmt.Sprintf("%s.corrupt-%s", filepath.Join(l.dir, fileName), l.now().UTC().Format("20060102T150405Z"))
	if err := os.WriteFile(aside, got.raw, 0o600); err != nil {
		return got, fmt.Errorf("setting a corrupt ledger aside: %w", err)
	}
	l.log.Warn("the ledger is corrupt: set aside, and rebuilt from what is whole in it", "aside", aside, "bytes", len(got.raw), "entries", len(got.entries))
	return got, nil
}

// Read returns the instance and the entries of the ledger in dir, oldest
// first, without locking it: a look at what another process is doing. A
// ledger that isn't there is empty.
func Read(dir string) (instance string, entries []Entry, err error) {
	got, err := read(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil, nil
	}
	if err != nil {
		return "", nil, err
	}
	return cmp.Or(got.instance, readNote(dir, instanceName).Instance), got.list(func(Entry) bool { return true }), nil
}

// contents is what stands in a ledger file. It is incomplete if an earlier file had
// rotted.
type contents struct {
	memory
	raw      []byte
	instance string
	rotten   bool // the header, or a line before the last, isn't whole
	newer    bool // it has a format that isn't known here
}

// read reads the ledger in dir.
func read(dir string) (contents, error) {
	path := filepath.Join(dir, fileName)
	raw, err := readFile(path)
	if err != nil {
		return contents{}, fmt.Errorf("reading the ledger: %w", err)
	}
	got := parse(raw)
	if got.newer {
		return got, fmt.Errorf("%s was written by a newer patrol, and this one would lose what is in it: run that version, or name another folder with --state-dir", path)
	}
	return got, nil
}

func parse(raw []byte) contents {
	got := contents{raw: raw}
	headed := false
	for line := range bytes.Lines(raw) {
		line, terminated := bytes.CutSuffix(line, []byte{'\n'})
		var head header
		var e Entry
		switch {
		case decode(line, &e) && e.Nonce != "" && terminated:
			got.remember(e)
		case decode(line, &head) && head.Version != 0:
			headed = true
			got.instance = head.Instance
			got.incomplete = got.incomplete || head.Gaps
			got.newer = got.newer || head.Version > version
		case terminated:
			got.rotten = true
		}
	}
	got.rotten = got.rotten || !headed
	return got
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
