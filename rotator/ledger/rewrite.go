package ledger

import (
	"fmt"
	"path/filepath"

	"patrol/rotator/atomicfile"
)

// rewriteLocked writes the ledger anew, in place of the file that is there, and
// opens it for appending. The old file stays whole until the new one is on
// the disk. The caller holds diskMu.
func (l *Ledger) rewriteLocked() error {
	l.disk.broken = true
	if err := l.ensureFolderLocked(); err != nil {
		return err
	}
	data, lines, err := l.snapshot()
	if err != nil {
		return err
	}
	file, err := atomicfile.Create(filepath.Join(l.dir, fileName), data)
	if err != nil {
		return fmt.Errorf("writing the ledger anew: %w", err)
	}
	if l.disk.file != nil {
		_ = l.disk.file.Close() // superseded: nothing in it is needed
	}
	l.disk.file, l.disk.size, l.disk.lines, l.disk.broken = file, int64(len(data)), lines, false
	l.writeNotes()
	return nil
}

// snapshot returns the file's content as it should be, and how many entries it holds.
func (l *Ledger) snapshot() (data []byte, lines int, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if data, err = encode(header{Version: version, Instance: l.instance, Gaps: l.memory.incomplete}); err != nil {
		return nil, 0, err
	}
	for _, nonce := range l.memory.order {
		line, err := encode(l.memory.entries[nonce])
		if err != nil {
			return nil, 0, err
		}
		data = append(data, line...)
	}
	l.memory.unsaved = nil
	return data, len(l.memory.order), nil
}
