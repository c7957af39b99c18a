package upstream

import (
	"bytes"
	"io"
)

// reader buffers what comes.
type reader struct {
	src   io.Reader
	buf   []byte
	r, w  int   // what is in buf and not taken
	err   error // from src, for good
	total int64 // what came since it was set to 0
}

const (
	// readSize is a connection's buffer. Streams wait with it, and there may be a
	// thousand.
	readSize = 4 << 10
)

func (r *reader) buffered() int { return r.w - r.r }

// fill reads once. It makes room first: the buffer grows where nothing was taken.
func (r *reader) fill() error {
	if r.err != nil {
		return r.err
	}
	switch {
	case r.r == r.w:
		r.r, r.w = 0, 0
	case r.w == len(r.buf) && r.r > 0:
		r.w = copy(r.buf, r.buf[r.r:r.w])
		r.r = 0
	}
	if r.w == len(r.buf) {
		wider := make([]byte, max(readSize, 2*len(r.buf)))
		copy(wider, r.buf)
		r.buf = wider
	}
	n, err := r.src.Read(r.buf[r.w:])
	r.w += n
	return r.took(n, err)
}

// read reads into p what is in the buffer, or comes next.
func (r *reader) read(p []byte) (int, error) {
	if r.r == r.w {
		if r.err != nil {
			return 0, r.err
		}
		if len(p) >= len(r.buf) {
			n, err := r.src.Read(p)
			return n, r.took(n, err)
		}
		if err := r.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, r.buf[r.r:r.w])
	r.r += n
	return n, nil
}

// has reports whether a read of data, or else of a line, doesn't wait.
func (r *reader) has(data bool) bool {
	if data {
		return r.r < r.w
	}
	return bytes.IndexByte(r.buf[r.r:r.w], '\n') >= 0
}

// line returns the next line without its CRLF. It stays valid until the next call of r.
func (r *reader) line(most int) ([]byte, error) {
	for looked := 0; ; {
		b := r.buf[r.r:r.w]
		if n := bytes.IndexByte(b[looked:], '\n'); n >= 0 {
			n += looked
			if n == 0 || b[n-1] != '\r' {
				return nil, malformed("a line ends without CRLF")
			}
			r.r += n + 1
			return b[:n-1], nil
		}
		if looked = len(b); looked > most {
			return nil, malformed("a line of its body is too long")
		}
		if err := r.fill(); err != nil {
			return nil, cut(err)
		}
	}
}

// took notes what a Read of src has returned. The error is for the caller: nil if
// there is something to use first.
func (r *reader) took(n int, err error) error {
	r.total += int64(n)
	if err == nil && n == 0 {
		err = io.ErrNoProgress
	}
	if err != nil && !isTimeout(err) {
		r.err = err
	}
	if n > 0 {
		return nil
	}
	return err
}

// shrink gives back what a large head has taken.
func (r *reader) shrink() {
	if len(r.buf) > readSize && r.r == r.w {
		r.buf, r.r, r.w = nil, 0, 0
	}
}
