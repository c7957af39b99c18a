package proxy

import (
	"errors"
	"io"
	"net/http"
)

// body is what a client sent. It goes upstream from memory: a body that
// http.Transport still reads from the client's socket when the upstream
// answers early costs the answer its connection, and so its end; and only what
// is in memory can be sent twice.
type body struct {
	*payload       // nil if there is none
	whole    bool  // the payload is all of it
	size     int64 // of all of it, -1 if that isn't known
}

// firstRead is the room for a body that doesn't say its length.
const firstRead = 4 << 10

// readBody reads the request's body: all of it, if that is at most limit
// bytes and m has them. It blocks until the client has sent that much. The
// caller releases the payload, if there is one; after an error there is none.
func (m *memory) readBody(r *http.Request, limit int) (body, error) {
	b := body{size: r.ContentLength}
	if r.ContentLength == 0 || r.Body == nil || r.Body == http.NoBody {
		return body{whole: true}, nil
	}
	if b.size > int64(limit) {
		return b, nil
	}
	room := int(b.size)
	if room < 0 {
		room = min(firstRead, limit)
	}
	if room == 0 || !m.take(room) {
		return b, nil
	}
	b.payload = &payload{data: m.buffer(room), taken: room, memory: m}
	b.users.Store(1)
	for {
		err := b.fill(r.Body)
		if errors.Is(err, io.EOF) {
			b.whole, b.size = true, int64(len(b.data))
			return b, nil
		}
		if err != nil {
			b.release()
			return body{}, err
		}
		if !b.grow(limit) {
			return b, nil
		}
	}
}

// fill reads until there is no room left or the body ends: then it returns
// io.EOF.
func (b *body) fill(r io.Reader) error {
	for len(b.data) < b.taken {
		n, err := r.Read(b.data[len(b.data):b.taken])
		b.data = b.data[:len(b.data)+n]
		if err != nil {
			return err
		}
	}
	if int64(len(b.data)) != b.size {
		return nil
	}
	// This is all that was announced. The server watches for a client that
	// leaves only once it has seen the end.
	var none [1]byte
	_, err := r.Read(none[:])
	return err
}

// grow makes more room, if limit and the memory allow.
func (b *body) grow(limit int) bool {
	more := min(b.taken, limit-b.taken)
	if more <= 0 || !b.memory.take(more) {
		return false
	}
	b.taken += more
	wider := append(b.memory.buffer(b.taken), b.data...)
	b.memory.recycle(b.data)
	b.data = wider
	return true
}

// replace makes data, which nobody else holds, the body. The memory is charged
// for it even if it is more than there is left: it is there already.
func (b *body) replace(data []byte) {
	m := b.memory
	b.release()
	m.give(-len(data))
	b.payload = &payload{data: data, taken: len(data), memory: m}
	b.users.Store(1)
	b.size = int64(len(data))
}

// attach makes b the body of out, whose own is what isn't in the payload. A
// body that isn't whole can be attached once.
func (b *body) attach(out *http.Request) {
	out.ContentLength = b.size
	out.TransferEncoding = nil
	switch p := b.payload; {
	case !b.whole && p != nil:
		out.Body = &joined{first: p.open(), then: out.Body}
	case !b.whole:
	case b.size == 0:
		out.Body = nil
	default:
		out.Body = p.open()
		out.GetBody = func() (io.ReadCloser, error) { return p.open(), nil }
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
