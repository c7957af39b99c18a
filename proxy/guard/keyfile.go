package guard

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	minKeyLen        = 16   // characters
	maxCredentialLen = 4096 // bytes; a longer one isn't checked
)

// checkKey returns an error that says what is wrong with a client key, without
// the key in it.
func checkKey(key string) error {
	for i := range len(key) {
		if key[i] <= ' ' || key[i] > '~' {
			return errors.New("a key must be printable ASCII without spaces, or no header carries it as it is")
		}
	}
	switch {
	case len(key) < minKeyLen:
		return errors.New("a key needs at least 16 characters; `openssl rand -hex 32` makes a good one")
	case len(key) > maxCredentialLen:
		return errors.New("a key has at most 4096 characters")
	}
	return nil
}

const (
	maxKeyFileSize  = 1 << 20     // bytes
	keyFileInterval = time.Second // between two readings
)

// keyFile holds the hashes of a file's client keys, and reads it again when it
// may have changed.
type keyFile struct {
	path   string
	log    *slog.Logger
	hashes atomic.Pointer[[][sha256.Size]byte]

	mu      sync.Mutex // guards what follows; held while the file is read
	readAt  time.Time
	lastErr string // why the last reading failed; "" if it didn't
}

// openKeyFile reads the file for the first time.
func openKeyFile(path string, log *slog.Logger) (*keyFile, error) {
	hashes, err := readKeyFile(path)
	if err != nil {
		return nil, err
	}
	f := &keyFile{path: path, log: log, readAt: time.Now()}
	f.hashes.Store(&hashes)
	return f, nil
}

// refresh returns the hashes of the keys that stood in the file a second ago, or
// later. It reads the whole file, which is small, instead of comparing times and
// sizes, which can miss a second edit. While one goroutine reads, the others get
// the hashes from before.
func (f *keyFile) refresh() [][sha256.Size]byte {
	if f.mu.TryLock() {
		defer f.mu.Unlock()
		if time.Since(f.readAt) >= keyFileInterval {
			f.rereadLocked()
		}
	}
	return *f.hashes.Load()
}

// rereadLocked reads the file. If it can't be read or trusted, no key is valid.
func (f *keyFile) rereadLocked() {
	hashes, err := readKeyFile(f.path)
	f.readAt = time.Now()
	f.hashes.Store(&hashes)
	switch {
	case err != nil && err.Error() != f.lastErr:
		f.lastErr = err.Error()
		f.log.Error("client keys are out of force", "err", err)
	case err == nil && f.lastErr != "":
		f.lastErr = ""
		f.log.Info("client keys are in force again", "file", f.path, "keys", len(hashes))
	}
}

// readKeyFile returns the hashes of the keys in the file. Its errors name
// lines, never their content.
func readKeyFile(path string) ([][sha256.Size]byte, error) {
	// Without O_NONBLOCK, opening a named pipe would wait for a writer.
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("opening the client key file: %w", err)
	}
	defer func() { _ = file.Close() }()
	info, err := file.Stat()
	switch {
	case err != nil:
		return nil, fmt.Errorf("examining the client key file: %w", err)
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("the client key file %s is no regular file", path)
	}
	if err := checkPrivate(path, info); err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(file, maxKeyFileSize+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("reading the client key file: %w", err)
	case len(data) > maxKeyFileSize:
		return nil, fmt.Errorf("the client key file %s is larger than 1 MiB", path)
	}
	hashes, err := parseKeys(data)
	if err != nil {
		return nil, fmt.Errorf("client key file %s: %w", path, err)
	}
	return hashes, nil
}

// parseKeys returns the hashes of the keys in a file's text.
func parseKeys(data []byte) (hashes [][sha256.Size]byte, err error) {
	n := 0
	for line := range strings.Lines(string(data)) {
		n++
		key := strings.Trim(line, " \t\r\n")
		if key == "" || key[0] == '#' {
			continue
		}
		if err := checkKey(key); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		hashes = append(hashes, sha256.Sum256([]byte(key)))
	}
	if len(hashes) == 0 {
		return nil, errors.New("it holds no key: put one on a line of its own; `openssl rand -hex 32` makes a good one")
	}
	return hashes, nil
}
