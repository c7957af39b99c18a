package ledger

import (
	"fmt"
	"path/filepath"

	"patrol/rotator/atomicfile"
)

// rewrite writes the ledger anew, in place of the file that is there, and
// opens it for appending. The old file stays whole until the new one is on
// the disk.
func (l *Ledger) rewrite() error {
	l.broken = true
	if err := l.ensureFolder(); err != nil {
		return err
	}
	data, err := encode(header{Version: version, Instance: l.instance, Gaps: l.incomplete})
	if err != nil {
		return err
	}
	for _, nonce := range l.order {
		line, err := encode(l.entries[nonce])
		if err != nil {
			return err
		}
		data = append(data, line...)
	}
	file, err := atomicfile.Create(filepath.Join(l.dir, fileName), data)
	if err != nil {
		return fmt.Errorf("writing the ledger anew: %w", err)
	}
	if l.file != nil {
		_ = l.file.Close() // superseded: nothing in it is needed
	}
	l.file, l.size, l.lines, l.broken = file, int64(len(data)), len(l.order), false
	l.writeNotes()
	return nil
}
