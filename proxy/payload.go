package proxy

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// memory lends the space for requests' bodies. It bounds what all of them
// take together, counted by the buffers that they lie in, and what it keeps
// for the next ones.
type memory struct {
	left atomic.Int64 // bytes that may still be lent
	half int64        // of what there is
	log  *slog.Logger

	mu   sync.Mutex
	free [][]byte
	kept int         // bytes in free
	idle *time.Timer // until free is dropped; nil before the first use
}

const (
	// free holds mostKept bytes, and those for keepFor after the last use: a
	// burst of large bodies must not stay in memory for good.
	mostKept = 32 << 20
	keepFor  = 2 * time.Second

	// smallBody is the largest body that goes upstream as a type that
	// http.Transport knows not to block: then it sends the header along in
	// the same packet. The price is that it stays in memory as long as the
	// answer. Larger ones don't fit in the Transport's buffer anyway.
	smallBody = 4 << 10

	// mostRead is what a Read gives at most: with the 9 bytes of its header an
	// HTTP/2 frame then fills 8 records of TLS, and is copied while it is in the
	// processor's cache. http.Transport would ask for 512 KB at once, and 1 MB
	// took a tenth more CPU.
	mostRead = 8*16<<10 - 9
)

// limit sets how much may be lent at a time, before the first is.
func (m *memory) limit(n int) {
	m.left.Store(int64(n))
	m.half = int64(n / 2)
}

// take reserves n bytes if they are to be had and spare bytes are left then.
func (m *memory) take(n int, spare int64) bool {
	if m.left.Add(int64(-n)) >= spare {
		return true
	}
	m.left.Add(int64(n))
	return false
}

func (m *memory) give(n int) { m.left.Add(int64(n)) }

// lend returns an empty buffer for n bytes, nil if there is no memory for it of
// which spare bytes are left. What is in it beyond its length is another
// body's: it must be written before it is read.
func (m *memory) lend(n int, spare int64) []byte {
	if buf := m.reuse(n); buf != nil {
		if m.take(cap(buf), spare) {
			return buf
		}
		m.recycle(buf)
	}
	if !m.take(n, spare) {
		return nil
	}
	return make([]byte, 0, n)
}

// reclaim takes back what was lent, once nobody reads it any more.
func (m *memory) reclaim(buf []byte) {
	m.recycle(buf)
	m.give(cap(buf))
}

// reuse returns a buffer that was kept and is of use for n bytes, nil if there
// is none.
func (m *memory) reuse(n int) []byte {
	if n <= smallBody {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := len(m.free) - 1; i >= 0; i-- {
		if c := cap(m.free[i]); n <= c && c <= 2*n {
			buf := m.free[i]
			last := len(m.free) - 1
			m.free[i], m.free[last] = m.free[last], nil
			m.free = m.free[:last]
			m.kept -= c
			return buf
		}
	}
	return nil
}

// recycle keeps a buffer for the next body, if it is of use.
func (m *memory) recycle(buf []byte) {
	if cap(buf) <= smallBody {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	// The newest stay: they are of the size that is asked for now.
	for m.kept+cap(buf) > mostKept && len(m.free) > 0 {
		m.kept -= cap(m.free[0])
		m.free[0] = nil
		m.free = m.free[1:]
	}
	if m.kept+cap(buf) <= mostKept {
		m.free = append(m.free, buf[:0])
		m.kept += cap(buf)
	}
	if m.idle == nil {
		m.idle = time.AfterFunc(keepFor, m.forget)
	} else {
		m.idle.Reset(keepFor)
	}
}

// forget drops what is kept.
func (m *memory) forget() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.free, m.kept = nil, 0
}

// payload is a request's body in memory, or the beginning of one. It is sent
// as often as it takes, and its memory goes back once the exchange has done
// with it and every request that was sent with it has been closed:
// http.Transport may go on reading after it has returned.
type payload struct {
	data   []byte // in a buffer that the memory has lent, or been charged for
	memory *memory
	users  atomic.Int32
}

// newPayload returns one with a single user.
func newPayload(data []byte, m *memory) *payload {
	p := &payload{data: data, memory: m}
	p.users.Store(1)
	return p
}

func (p *payload) release() {
	if p.users.Add(-1) == 0 {
		p.memory.reclaim(p.data)
		p.data = nil
	}
}

// open returns a reader of the whole payload. The caller closes it, and has
// not released the payload yet.
func (p *payload) open() io.ReadCloser {
	if cap(p.data) <= smallBody { // recycle doesn't want it either
		return io.NopCloser(bytes.NewReader(p.data))
	}
	p.users.Add(1)
	r := &payloadReader{payload: p, log: p.memory.log}
	r.left.Reset(p.data)
	return r
}

// payloadReader is one request's view of a payload. HTTP/2 closes it while it
// may be reading, and one that was read to its end only when the answer ends:
// so it lets go at the end already.
type payloadReader struct {
	log     *slog.Logger
	mu      sync.Mutex
	left    bytes.Reader
	payload *payload // nil once it has let go
	cut     bool     // it was closed before its end
}

var errClosedPayload = errors.New("reading a request's body that is closed")

func (r *payloadReader) Read(b []byte) (n int, err error) {
	defer contain(r.log, &err)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cut {
		return 0, errClosedPayload
	}
	n, err = r.left.Read(b[:min(len(b), mostRead)])
	if r.left.Len() == 0 {
		r.letGo()
	}
	return n, err
}

func (r *payloadReader) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cut = r.cut || r.payload != nil
	r.letGo()
	return nil
}

// letGo is called with mu held.
func (r *payloadReader) letGo() {
	if r.payload != nil {
		r.payload.release()
		r.payload = nil
		r.left.Reset(nil)
	}
}

// bufferPool lends the buffers through which answers are copied.
type bufferPool struct{ pool sync.Pool }

// copySize is a buffer's size: as much as a socket gives at once of an answer
// that comes fast. A slow stream's events touch its first page only, so that
// no more than that is resident.
const copySize = 32 << 10

// Get returns a buffer. ReverseProxy gives each back as it got it.
func (b *bufferPool) Get() []byte {
	if buf, ok := b.pool.Get().(*[copySize]byte); ok {
		return buf[:]
	}
	return make([]byte, copySize)
}

// Put takes a buffer back.
func (b *bufferPool) Put(buf []byte) { b.pool.Put((*[copySize]byte)(buf)) }
