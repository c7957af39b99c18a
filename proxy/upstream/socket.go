package upstream

import (
	"net"
	"sync"
	"syscall"
)

// socket is a connection's own end. Where the system lets it, a Read says before it
// waits, and so does a write.
type socket struct {
	net.Conn
	raw syscall.RawConn // nil: Conn is no socket, or the system isn't one that we know

	noWait     bool   // Read returns errWouldBlock rather than wait
	beforeWait func() // Read calls it before it waits; may be nil
	reading    attempt

	// What TLS writes may come from two goroutines: an answer to what was read, too.
	mu          sync.Mutex
	writeBlocks func() // a write calls it before it waits; may be nil
	writing     attempt
	gathering   bool
	gathered    []byte
}

// attempt is a Read or a write that is under way: what RawConn calls back has its
// arguments and results here, so that it is made once.
type attempt struct {
	p      []byte   // to read into
	pieces [][]byte // to be written
	n      int
	err    error
	once   func(fd uintptr) (done bool)
}

// mostGathered is how much of TLS's records goes into one system call, in bytes.
const mostGathered = 128 << 10

var gathers = sync.Pool{New: func() any { return new([mostGathered]byte) }}

func (s *socket) Read(p []byte) (int, error) {
	if s.raw != nil {
		return s.readRaw(p)
	}
	if s.beforeWait != nil {
		s.beforeWait()
	}
	return s.Conn.Read(p)
}

// Write is how TLS writes its records.
func (s *socket) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.gathering {
		return len(p), s.writeLocked(p)
	}
	if len(s.gathered)+len(p) > cap(s.gathered) {
		if err := s.flushLocked(); err != nil {
			return 0, err
		}
	}
	s.gathered = append(s.gathered, p...)
	return len(p), nil
}

// writePieces writes what is in memory, at once if it fits.
func (s *socket) writePieces(pieces ...[]byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.writeLocked(pieces...)
}

func (s *socket) writeLocked(pieces ...[]byte) error {
	if s.raw != nil {
		return s.writeRaw(pieces)
	}
	if s.writeBlocks != nil {
		s.writeBlocks() // nothing tells whether it does
	}
	for _, p := range pieces {
		if _, err := s.Conn.Write(p); err != nil {
			return err
		}
	}
	return nil
}

// watchWrites sets what a write calls before it waits, nil for nothing.
func (s *socket) watchWrites(blocks func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writeBlocks = blocks
}

// gather makes Write wait for flush, until mostGathered bytes are there.
func (s *socket) gather() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gathering = true
	s.gathered = gathers.Get().(*[mostGathered]byte)[:0]
}

// flush writes what was gathered, and ends that.
func (s *socket) flush() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.flushLocked()
	gathers.Put((*[mostGathered]byte)(s.gathered[:mostGathered]))
	s.gathering, s.gathered = false, nil
	return err
}

func (s *socket) flushLocked() error {
	if len(s.gathered) == 0 {
		return nil
	}
	err := s.writeLocked(s.gathered)
	s.gathered = s.gathered[:0]
	return err
}
