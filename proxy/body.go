package proxy

import (
	"errors"
	"io"
	"math/bits"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// body is what a client sent. It goes upstream from memory: only so can it be filtered,
// and sent twice. It belongs to its request's goroutine, which releases it once no more
// attempt is made.
type body struct {
	data   []byte // in a buffer that the memory has lent; nil: none
	whole  bool   // data is all of it
	short  bool   // it isn't, for lack of memory
	size   int64  // of all of it, -1 if that isn't known
	memory *memory

	// patience blocks as long as the request may have to wait for a token, and then says
	// until when it may wait for memory. Its error ends the request.
	patience func() (until time.Time, err error)
}

const (
	// firstRead is the room for the beginning of a body, firstChunks for that of
	// one that doesn't say its length.
	firstRead   = 64 << 10
	firstChunks = 4 << 10

	// mostTrust is how much more room than has come a body gets that says its
	// length.
	mostTrust = 8
)

// readBody reads from in a request's body of this size, -1 if that isn't known: all of
// it, if that is at most limit bytes and m has them, or soon: while there is no room,
// nothing more is read, for as long as patience says. It blocks until the client has sent
// that much. The caller releases the body; after an error there is none.
func (m *memory) readBody(in io.Reader, size int64, limit int, patience func() (time.Time, error)) (body, error) {
	b := body{memory: m, size: size, whole: size == 0, patience: patience}
	if b.whole || limit <= 0 || size > int64(limit) {
		return b, nil
	}
	most := limit + 1 // one byte too many tells a longer body from one that just fits
	if size > 0 {
		most = int(size)
	}
	for grown, err := b.begin(most); grown || err != nil; grown, err = b.grow(most) {
		var ended bool
		if err == nil {
			ended, err = b.fill(in, most)
		}
		switch {
		case err != nil:
			b.release()
			return body{}, err
		case ended && len(b.data) <= limit:
			b.whole, b.size = true, int64(len(b.data))
			return b, nil
		case ended, len(b.data) == most: // it is longer
			return b, nil
		}
	}
	b.short = true
	return b, nil
}

// begin borrows the first buffer, if there is memory.
func (b *body) begin(most int) (ok bool, err error) {
	first := firstRead
	if b.size < 0 {
		first = firstChunks
	} else if b.data = b.memory.lend(most, b.memory.half); b.data != nil {
		// All at once saves a copy. But those who announce a lot and send nothing must
		// not hold the memory of all: one half of it is for what has come.
		return true, nil
	}
	b.data, err = b.borrow(min(first, most))
	return b.data != nil, err
}

// borrow returns a buffer for n bytes, nil if there is none in time.
func (b *body) borrow(n int) ([]byte, error) {
	if buf := b.memory.lend(n, 0); buf != nil || int64(n+cap(b.data)) > 2*b.memory.half { // never
		return buf, nil
	}
	until, err := b.patience()
	if err != nil {
		return nil, err
	}
	tooLate := time.After(time.Until(until))
	for {
		given := b.memory.nextGiven() // looked for before lend, so that none is missed
		if buf := b.memory.lend(n, 0); buf != nil {
			return buf, nil
		}
		select {
		case <-given:
		case <-tooLate:
			return nil, nil
		}
	}
}

// fill reads until there is no room left, most bytes are there or the body
// ends, and reports whether it did.
func (b *body) fill(r io.Reader, most int) (ended bool, err error) {
	room := min(cap(b.data), most)
	for err == nil && len(b.data) < room {
		var n int
		n, err = r.Read(b.data[len(b.data):room])
		b.data = b.data[:len(b.data)+n]
	}
	if err == nil && int64(len(b.data)) == b.size {
		// This is all that was announced. The server watches for a client that
		// leaves only once it has seen the end.
		var none [1]byte
		_, err = r.Read(none[:])
	}
	if errors.Is(err, io.EOF) {
		return true, nil
	}
	return false, err
}

// grow makes more room, for most bytes at most, if the memory allows.
func (b *body) grow(most int) (ok bool, err error) {
	times := 2
	if b.size > 0 {
		times = mostTrust
	}
	wider, err := b.borrow(min(times*cap(b.data), most))
	if wider == nil {
		return false, err
	}
	wider = append(wider, b.data...)
	b.memory.reclaim(b.data)
	b.data = wider
	return true, nil
}

// replace makes data, which nobody else holds, the body. Unless it was lent, the memory is
// charged for it even if it is more than there is left: it is there already.
func (b *body) replace(data []byte, lent bool) {
	b.memory.reclaim(b.data)
	if !lent {
		b.memory.left.Add(-int64(cap(data)))
	}
	b.data, b.size = data, int64(len(data))
}

// release gives the memory back. What isn't in memory can still be read.
func (b *body) release() {
	if b.data != nil {
		b.memory.reclaim(b.data)
		b.data = nil
	}
}

// memory lends the space for requests' bodies, and bounds what all of them take
// together, counted by the buffers that they lie in. What is given back is kept for
// the next ones until the garbage collector has found it unused.
type memory struct {
	left atomic.Int64 // bytes that may still be lent
	half int64        // of what there is
	free [100]sync.Pool

	awaited atomic.Bool // somebody waits for given
	mu      sync.Mutex
	given   chan struct{} // closed when something is given back; nil while nobody waits
}

// smallBuffer is a size up to which it costs no more to make a buffer than to keep it.
const smallBuffer = 4 << 10

// limit sets how much may be lent at a time, before the first is.
func (m *memory) limit(n int) {
	m.left.Store(int64(n))
	m.half = int64(n / 2)
}

// lend returns an empty buffer for n bytes, nil if there is no memory for it of
// which spare bytes are left. What is in it beyond its length is another
// body's: it must be written before it is read.
func (m *memory) lend(n int, spare int64) []byte {
	_, size := sizeClass(n)
	for left := m.left.Load(); left-int64(size) >= spare; left = m.left.Load() {
		if m.left.CompareAndSwap(left, left-int64(size)) {
			return m.buffer(n)
		}
	}
	return nil
}

// reclaim takes back what was lent, once nobody reads it any more.
func (m *memory) reclaim(buf []byte) {
	m.left.Add(int64(cap(buf)))
	if m.awaited.Load() {
		m.broadcast()
	}
	if class, size := sizeClass(cap(buf)); size > smallBuffer && size == cap(buf) && class < len(m.free) {
		buf = buf[:0]
		m.free[class].Put(&buf)
	}
}

// nextGiven returns what is closed when something is given back after this call.
func (m *memory) nextGiven() <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.given == nil {
		m.given = make(chan struct{})
	}
	m.awaited.Store(true)
	return m.given
}

// broadcast wakes those who wait.
func (m *memory) broadcast() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.given != nil {
		close(m.given)
		m.given = nil
	}
	m.awaited.Store(false)
}

// buffer returns an empty buffer for n bytes that the memory isn't charged for.
func (m *memory) buffer(n int) []byte {
	class, size := sizeClass(n)
	if size > smallBuffer && class < len(m.free) {
		if buf, ok := m.free[class].Get().(*[]byte); ok {
			return *buf
		}
	}
	return make([]byte, 0, size)
}

// sizeClass returns the size of the buffer for n bytes, which is at most a quarter
// larger, and its place in memory.free.
func sizeClass(n int) (class, size int) {
	if n <= smallBuffer {
		return 0, n
	}
	step := bits.Len(uint(n-1)) - 3
	size = (n + 1<<step - 1) >> step << step
	return 4*step + size>>step, size
}

const (
	// bodyIdle is how long a client may at least be silent in the middle of a
	// body: one that has gone to sleep there would hold memory and a connection
	// for good.
	bodyIdle = time.Minute

	// bodySlack is how much longer it may take until its deadline has passed:
	// so the deadline needn't be put off with each read. Half of it is for what
	// comes before the body: the header's 10 s, the guard's 5.
	bodySlack = 30 * time.Second

	leastIdle = bodyIdle + bodySlack/2
)

// upload is a request's body on its way in. The server has given it a
// deadline, its ReadTimeout; an upload puts that off as long as something
// comes. The server takes it off again once it has seen the body's end, so
// that nothing cuts the answer.
type upload struct {
	from   io.Reader
	client http.ResponseWriter
	since  time.Time // the deadline is leastIdle after it, or later
	failed bool
}

func (u *upload) Read(b []byte) (int, error) {
	// Who calls the proxy without a connection has no deadline to put off.
	if now := time.Now(); now.Sub(u.since) > leastIdle-bodyIdle {
		u.since = now
		_ = http.NewResponseController(u.client).SetReadDeadline(now.Add(bodyIdle + bodySlack))
	}
	n, err := u.from.Read(b)
	u.failed = err != nil && !errors.Is(err, io.EOF)
	return n, err
}

// stalled reports whether the deadline has ended the body.
func (u *upload) stalled() bool { return u.failed && time.Since(u.since) >= leastIdle }
