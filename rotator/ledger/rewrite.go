package ledger

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
)

// rewrite writes the ledger anew, in place of the file that is there, and
// opens it for appending. The old file stays whole until the new one is on
// the disk.
func (l *Ledger) rewrite() error {
	l.broken = true
	if err := l.settle(); err != nil {
		return err
	}
	data, err := encode(header{Version: version, Instance: l.instance, Gaps: l.salvaged})
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
	file, err := replace(filepath.Join(l.dir, fileName), data)
	if err != nil {
		return fmt.Errorf("writing the ledger anew: %w", err)
	}
	if l.file != nil {
		_ = l.file.Close() // superseded: nothing in it is needed
	}
	l.file, l.size, l.lines, l.broken = file, int64(len(data)), len(l.order), false
	l.noteInstance()
	return nil
}

// replace puts a file with this content at path, durably, and returns it
// open. Only the holder of the lock calls it, so the temporary name is fixed
// and what a killed process left there is overwritten.
func replace(path string, data []byte) (_ *os.File, err error) {
	temp := path + ".new"
	if err := os.Remove(temp); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	file, err := os.OpenFile(temp, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, file.Close(), os.Remove(temp))
		}
	}()
	if _, err := file.Write(data); err != nil {
		return nil, err
	}
	if err := file.Sync(); err != nil {
		return nil, err
	}
	if err := os.Rename(temp, path); err != nil {
		return nil, err
	}
	return file, syncDir(filepath.Dir(path))
}

// syncDir makes a rename in dir durable. Windows can't and needn't.
func syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, errors.ErrUnsupported) {
		err = nil
	}
	return errors.Join(err, d.Close())
}
