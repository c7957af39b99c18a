package upstream

import (
	"bufio"
	"net"
	"sync"
	"syscall"
	"time"
)

// socket is a connection's own end. Where the system lets it, a Read says before it
// waits.
type socket struct {
	net.Conn
	raw   syscall.RawConn // nil: Conn is no socket, or the system isn't one that we know
	below *socket         // Conn is TLS over it, to a proxy; nil: it isn't

	noWait     bool   // Read returns os.ErrDeadlineExceeded rather than wait
	beforeWait func() // Read calls it before it waits; may be nil

	// What raw.Read calls back, with its argument and results: made once.
	once func(fd uintptr) (done bool)
	p    []byte
	n    int
	err  error

	mu       sync.Mutex    // TLS writes while it reads too: it answers to some records
	gathered *bufio.Writer // what TLS writes, until it is flushed; nil: it is written at once
}

func (s *socket) Read(p []byte) (int, error) {
	switch {
	case s.below != nil:
		s.below.noWait, s.below.beforeWait = s.noWait, s.beforeWait
		return s.Conn.Read(p)
	case s.raw != nil && len(p) > 0:
		return s.readRaw(p)
	}
	if s.beforeWait != nil {
		s.beforeWait()
	}
	return s.Conn.Read(p)
}

// allowSilence changes what boundSilence has set.
func (s *socket) allowSilence(most time.Duration) {
	if s.raw != nil {
		_ = boundSilence(s.raw, most) // a closed connection tells by itself
	}
}

// Write is how TLS writes its records.
func (s *socket) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gathered != nil {
		return s.gathered.Write(p)
	}
	return s.Conn.Write(p)
}

// gatherers hold what goes into one system call: eight of TLS's largest records.
var gatherers = sync.Pool{New: func() any { return bufio.NewWriterSize(nil, 128<<10) }}

// gather makes Write wait for flush, as long as there is room.
func (s *socket) gather() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gathered = gatherers.Get().(*bufio.Writer)
	s.gathered.Reset(s.Conn)
}

// flush writes what was gathered.
func (s *socket) flush() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.gathered
	s.gathered = nil
	err := w.Flush()
	w.Reset(nil)
	gatherers.Put(w)
	return err
}
