package proxy

import (
	"errors"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// body is what a client sent. It goes upstream from memory: a body that
// http.Transport still reads from the client's socket when the upstream
// answers early costs the answer its connection, and so its end; and only what
// is in memory can be sent twice.
type body struct {
	*payload       // nil if there is none
	whole    bool  // the payload is all of it
	short    bool  // it isn't, for lack of memory
	size     int64 // of all of it, -1 if that isn't known

	sent io.ReadCloser // what http.Transport reads the payload through; nil before it does
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

// readBody reads from in a request's body of this size, -1 if that isn't known:
// all of it, if that is at most limit bytes and m has them. It blocks until the
// client has sent that much. The caller releases the payload, if there is one;
// after an error there is none.
func (m *memory) readBody(in io.Reader, size int64, limit int) (body, error) {
	b := body{size: size}
	if size == 0 {
		return body{whole: true}, nil
	}
	if limit <= 0 || size > int64(limit) {
		return b, nil
	}
	// One byte too many tells a longer body from one that just fits.
	most := limit + 1
	if size > 0 {
		most = int(size)
	}
	first := m.begin(size, most)
	if first == nil {
		b.short = true
		return b, nil
	}
	b.payload = newPayload(first, m)
	for {
		ended, err := b.fill(in, most)
		switch {
		case err != nil:
			b.release()
			return body{}, err
		case ended && len(b.data) <= limit:
			b.whole, b.size = true, int64(len(b.data))
			return b, nil
		case ended, len(b.data) == most: // it is longer
			return b, nil
		case !b.grow(most):
			b.short = true
			return b, nil
		}
	}
}

// begin lends a body its first buffer, nil if there is no memory.
func (m *memory) begin(size int64, most int) []byte {
	if size < 0 {
		return m.lend(min(firstChunks, most), 0)
	}
	// All at once saves a copy. But those who announce a lot and send nothing
	// must not hold the memory of all: one half of it is for what has come.
	if all := m.lend(most, m.half); all != nil {
		return all
	}
	return m.lend(min(firstRead, most), 0)
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
func (b *body) grow(most int) bool {
	times := 2
	if b.size > 0 {
		times = mostTrust
	}
	wider := b.memory.lend(min(times*cap(b.data), most), 0)
	if wider == nil {
		return false
	}
	wider = append(wider, b.data...)
	b.memory.reclaim(b.data)
	b.data = wider
	return true
}

// replace makes data, which nobody else holds, the body. The memory is charged
// for it even if it is more than there is left: it is there already.
func (b *body) replace(data []byte) {
	m := b.memory
	b.release()
	m.give(-cap(data))
	b.payload = newPayload(data, m)
	b.size = int64(len(data))
}

// attach makes b the body of out, whose own is what isn't in the payload. A
// body that isn't whole can be attached once, and then holds nothing. Once c is
// spent http.Transport gets no other copy.
func (b *body) attach(out *http.Request, c *connection) {
	out.ContentLength = b.size
	out.TransferEncoding = nil
	switch p := b.payload; {
	case !b.whole && p != nil:
		out.Body = &joined{first: b.copyOf(p), then: out.Body}
		p.release()
		b.payload = nil
	case !b.whole:
	case b.size == 0:
		out.Body = nil
	default:
		out.Body = b.copyOf(p)
		out.GetBody = func() (io.ReadCloser, error) {
			if c.spent.Load() {
				return nil, errTurnedAway
			}
			return b.copyOf(p), nil
		}
	}
}

// copyOf opens p, and closes the copy before it: http.Transport has done with
// that, and forgets some, as those that it asked for over HTTP/2 to send on a
// connection that is no longer there.
func (b *body) copyOf(p *payload) io.ReadCloser {
	b.done()
	b.sent = p.open()
	return b.sent
}

// done closes the last copy. Nobody wants more of it.
func (b *body) done() {
	if b.sent != nil {
		_ = b.sent.Close() // which never fails
		b.sent = nil
	}
}

// joined is two bodies as one.
type joined struct{ first, then io.ReadCloser }

func (j *joined) Read(b []byte) (int, error) {
	n, err := j.first.Read(b)
	if n > 0 || !errors.Is(err, io.EOF) {
		return n, err
	}
	return j.then.Read(b)
}

func (j *joined) Close() error { return errors.Join(j.first.Close(), j.then.Close()) }

const (
	// bodyIdle is how long a client may at least be silent in the middle of a
	// body: one that has gone to sleep there would hold memory and a connection
	// for good.
	bodyIdle = time.Minute

	// bodySlack is how much longer it may take until its deadline has passed:
	// so the deadline needn't be put off with each read. Half of it is for what
	// comes before the body: the header's 10 s, the guard's 5.
	bodySlack = 30 * time.Second
)

// upload is a request's body on its way in. The server has given it a
// deadline, its ReadTimeout; an upload puts that off as long as something
// comes. The server takes it off again once it has seen the body's end, so
// that nothing cuts the answer.
type upload struct {
	io.ReadCloser
	client  http.ResponseWriter
	log     *slog.Logger
	reading atomic.Bool // or the last Read has failed, before the body's end

	mu    sync.Mutex
	since time.Time // the deadline is leastIdle after it, or later
	left  bool      // the connection's deadlines are no longer the upload's
}

const leastIdle = bodyIdle + bodySlack/2

// begin makes u the body of r, which w answers.
func (u *upload) begin(w http.ResponseWriter, r *http.Request, log *slog.Logger) {
	u.ReadCloser, u.client, u.since, u.log = r.Body, w, time.Now(), log
}

func (u *upload) Read(b []byte) (n int, err error) {
	defer contain(u.log, &err)
	u.putOff(time.Now())
	u.reading.Store(true)
	n, err = u.ReadCloser.Read(b)
	switch {
	case err == nil:
		u.reading.Store(false)
	case errors.Is(err, io.EOF):
		u.reading.Store(false)
		u.leave()
	}
	return n, err
}

// putOff puts the deadline off if less than bodyIdle may be left.
func (u *upload) putOff(now time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.left || now.Sub(u.since) <= leastIdle-bodyIdle {
		return
	}
	u.since = now
	// Who calls the proxy without a connection has no deadline to put off.
	_ = http.NewResponseController(u.client).SetReadDeadline(now.Add(bodyIdle + bodySlack))
}

// stalled reports whether the deadline has ended the body. It needn't wait for
// the Read that tells: that ends the request's context before it returns.
func (u *upload) stalled() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.reading.Load() && time.Since(u.since) >= leastIdle
}

// leave leaves the connection to the server. http.Transport may still read from
// u, after its end and even after Close: that must set no deadline, neither for
// an answer that takes its time nor for the connection's next request.
func (u *upload) leave() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.left = true
}

func (u *upload) Close() error {
	u.leave()
	return u.ReadCloser.Close()
}
