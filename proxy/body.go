package proxy

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"sync/atomic"
)

// body is what a client sent. It goes upstream from memory: a body that
// http.Transport still reads from the client's socket when the upstream
// answers early costs the answer its connection, and so its end; and only what
// is in memory can be sent twice.
type body struct {
	kept  []byte
	whole bool  // kept is all of it
	size  int64 // of all of it, -1 if that isn't known
}

// budget bounds the memory of all bodies together, in bytes.
type budget struct{ left atomic.Int64 }

// take reserves n bytes if they are to be had.
func (b *budget) take(n int64) bool {
	if b.left.Add(-n) >= 0 {
		return true
	}
	b.left.Add(n)
	return false
}

func (b *budget) give(n int64) { b.left.Add(n) }

// firstRead is the room for a body that doesn't say its length.
const firstRead = 4 << 10

// readBody reads the request's body: all of it, if that is at most limit
// bytes and the budget has them. It blocks until the client has sent that
// much. The caller gives taken back to the budget, after an error too.
func readBody(r *http.Request, limit int64, from *budget) (b body, taken int64, err error) {
	if r.ContentLength == 0 || r.Body == nil || r.Body == http.NoBody {
		return body{whole: true}, 0, nil
	}
	b.size = r.ContentLength
	room := r.ContentLength
	if room < 0 {
		room = min(firstRead, limit)
	}
	if room > limit || !from.take(room) {
		return b, 0, nil
	}
	taken = room
	b.kept = make([]byte, 0, room)
	for {
		err := b.fill(r.Body)
		if errors.Is(err, io.EOF) {
			b.whole, b.size = true, int64(len(b.kept))
			return b, taken, nil
		}
		if err != nil {
			return b, taken, err
		}
		more := min(int64(cap(b.kept)), limit-int64(cap(b.kept)))
		if more <= 0 || !from.take(more) {
			return b, taken, nil
		}
		taken += more
		b.kept = append(make([]byte, 0, taken), b.kept...)
	}
}

// fill reads until kept is full or the body ends: then it returns io.EOF.
func (b *body) fill(r io.Reader) error {
	for len(b.kept) < cap(b.kept) {
		n, err := r.Read(b.kept[len(b.kept):cap(b.kept)])
		b.kept = b.kept[:len(b.kept)+n]
		if err != nil {
			return err
		}
	}
	if int64(len(b.kept)) != b.size {
		return nil
	}
	// It is full and so is the announced length, but the server watches for
	// a client that leaves only once it has seen the end.
	var none [1]byte
	_, err := r.Read(none[:])
	return err
}

// attach makes b the body of out, whose own is what isn't kept. A body that
// isn't whole can be attached once.
func (b *body) attach(out *http.Request) {
	out.ContentLength = b.size
	out.TransferEncoding = nil
	switch {
	case !b.whole:
		out.Body = struct {
			io.Reader
			io.Closer
		}{io.MultiReader(bytes.NewReader(b.kept), out.Body), out.Body}
	case b.size == 0:
		out.Body = nil
	default:
		// Of this type http.Transport knows that it doesn't block: it sends
		// the headers along in the same packet.
		out.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.kept)), nil }
		out.Body, _ = out.GetBody()
	}
}
