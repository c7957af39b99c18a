package upstream

import (
	"bytes"
	"errors"
	"io"
	"os"
)

// A connection's buffer has readSize bytes, since each open stream has one. While more
// comes at once it grows up to mostRead.
const (
	readSize = 2 << 10
	mostRead = 16 << 10
)

// reader buffers what comes.
type reader struct {
	src   io.Reader
	buf   []byte
	r, w  int   // buf[r:w] has come and wasn't taken
	err   error // src's, for good
	total int64 // bytes that came since it was set to 0
}

func (r *reader) buffered() int { return r.w - r.r }

// has reports whether there is something of the next part, so that it can be read
// without waiting.
func (r *reader) has(next part) bool {
	return next == data && r.r < r.w || bytes.IndexByte(r.buf[r.r:r.w], '\n') >= 0
}

// refuses reports whether what came is an answer from 300 on, or more than can be kept.
// One with 1xx is none yet, and behind one with 2xx the rest may still be read.
func (r *reader) refuses() bool {
	b := r.buf[r.r:r.w]
	for interim := true; interim && len(b) > len("HTTP/1.1 "); {
		status := b[len("HTTP/1.1 ")]
		if checkStart(b) != nil || status > '2' {
			return true
		}
		_, b, interim = bytes.Cut(b, []byte("\r\n\r\n"))
		interim = interim && status == '1'
	}
	return checkStart(r.buf[r.r:r.w]) != nil || r.buffered() >= mostHead
}

// fill reads once. The buffer grows if it is full of what nobody has taken, or was full
// after the last time.
func (r *reader) fill() error {
	full := r.w == len(r.buf)
	r.w = copy(r.buf, r.buf[r.r:r.w])
	r.r = 0
	if full && (r.w == len(r.buf) || len(r.buf) < mostRead) {
		r.buf = append(r.buf, make([]byte, max(readSize, len(r.buf)))...)
	}
	n, err := r.from(r.buf[r.w:])
	r.w += n
	return err
}

// read takes what is in the buffer, or what comes next.
func (r *reader) read(p []byte) (int, error) {
	if r.r == r.w && len(p) >= readSize {
		return r.from(p)
	}
	if r.r == r.w {
		if err := r.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, r.buf[r.r:r.w])
	r.r += n
	return n, nil
}

// line takes the next line, without its CRLF. It is valid until more is read.
func (r *reader) line(most int) ([]byte, error) {
	for {
		b := r.buf[r.r:r.w]
		n := bytes.IndexByte(b, '\n')
		switch {
		case n == 0 || n > 0 && b[n-1] != '\r':
			return nil, malformed("a line ends without CRLF")
		case n > 0:
			r.r += n + 1
			return b[:n-1], nil
		case len(b) > most:
			return nil, malformed("a line of its body is too long")
		}
		if err := r.fill(); err != nil {
			return nil, err
		}
	}
}

// from reads from src: something, or an error.
func (r *reader) from(p []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	n, err := r.src.Read(p)
	r.total += int64(n)
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		r.err = err
	}
	if n > 0 {
		err = nil
	}
	return n, err
}

// shrink gives back what a large head has taken.
func (r *reader) shrink() {
	if len(r.buf) > readSize {
		r.buf, r.r, r.w = nil, 0, 0
	}
}
