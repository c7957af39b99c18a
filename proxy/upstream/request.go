package upstream

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/net/http/httpguts"
)

var (
	// errEarly ends the writing of a request whose answer is there.
	errEarly = errors.New("the answer came before the request's end")

	errLength = errors.New("the request's body isn't as long as it says")
)

// A RestError is why Request.Rest couldn't be read to its end.
type RestError struct{ Err error }

func (e *RestError) Error() string { return "reading the request's body: " + e.Err.Error() }
func (e *RestError) Unwrap() error { return e.Err }

const (
	// A body of up to smallBody bytes is sent with the head as one piece: to copy it
	// costs less than a second record of TLS, or piece of a writev.
	smallBody = 16 << 10

	// chunkSize is how much of Rest is read at a time.
	chunkSize = 32 << 10
)

// scratch lends the buffers that heads are written in, and chunks of a Rest.
var scratch = sync.Pool{New: func() any { return &buffer{make([]byte, 0, 4<<10)} }}

type buffer struct{ b []byte }

func (b *buffer) free() {
	if cap(b.b) <= 64<<10 {
		b.b = b.b[:0]
		scratch.Put(b)
	}
}

// check returns an error if the request can't be written as RFC 9112 demands.
func (r *Request) check() error {
	if !httpguts.ValidHeaderFieldName(r.Method) { // which is a token too
		return errors.New("the request's method isn't valid")
	}
	if r.Target == "" || strings.ContainsFunc(r.Target, func(c rune) bool { return c <= ' ' || c == 0x7f }) {
		return errors.New("the request's target isn't valid")
	}
	for name, values := range r.Header {
		for _, v := range values {
			if !validField(name, v) {
				return errField
			}
		}
	}
	for _, f := range r.Add {
		if !validField(f.Name, f.Value) {
			return errField
		}
	}
	return nil
}

var errField = errors.New("a field of the request's header isn't valid")

func validField(name, value string) bool {
	return httpguts.ValidHeaderFieldName(name) && httpguts.ValidHeaderFieldValue(value)
}

// appendHead appends the request's line and its header.
func (r *Request) appendHead(b []byte, authority string) []byte {
	b = append(append(append(append(b, r.Method...), ' '), r.Target...), " HTTP/1.1\r\nHost: "...)
	b = append(append(b, authority...), "\r\n"...)
	named := r.Header["Connection"]
	for name, values := range r.Header {
		if forConnection(name) || name == "Content-Length" || name == "Host" ||
			r.Omit != nil && r.Omit(name) || named != nil && httpguts.HeaderValuesContainsToken(named, name) {
			continue
		}
		for _, v := range values {
			b = appendField(b, name, v)
		}
	}
	for _, f := range r.Add {
		b = appendField(b, f.Name, f.Value)
	}
	switch {
	case r.Length < 0:
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
	case r.Length > 0 || r.Method == http.MethodPost || r.Method == http.MethodPut || r.Method == http.MethodPatch:
		b = append(b, "Content-Length: "...)
		b = append(strconv.AppendInt(b, r.Length, 10), "\r\n"...)
	}
	return append(b, "\r\n"...)
}

func appendField(b []byte, name, value string) []byte {
	b = append(append(b, name...), ": "...)
	return append(append(b, value...), "\r\n"...)
}

// forConnection reports whether a field is for one connection only (RFC 9110, 7.6.1).
func forConnection(name string) bool {
	switch name {
	case "Connection", "Keep-Alive", "Proxy-Connection", "Proxy-Authenticate", "Proxy-Authorization",
		"Proxy-Authentication-Info", "Te", "Trailer", "Transfer-Encoding", "Upgrade":
		return true
	}
	return false
}

// send writes the request. It returns errEarly if an answer came before its end.
func (c *conn) send(req *Request) error {
	c.early.Store(false)
	c.socket.watchWrites(c.watch)
	head := scratch.Get().(*buffer)
	head.b = req.appendHead(head.b, c.host.authority)
	err := c.sendBody(req, head)
	head.free()
	c.stopWatching()
	c.socket.watchWrites(nil)
	if err != nil && c.early.Load() {
		return errEarly
	}
	return err
}

// sendBody writes the head and the body.
func (c *conn) sendBody(req *Request, head *buffer) error {
	switch {
	case req.Length < 0:
		return c.sendChunked(req, head)
	case req.Rest == nil && int64(len(req.Body)) != req.Length:
		return errLength
	case len(req.Body) <= smallBody:
		head.b = append(head.b, req.Body...)
		if err := c.write(head.b); err != nil {
			return err
		}
	default:
		if err := c.write(head.b, req.Body); err != nil {
			return err
		}
	}
	if req.Rest == nil {
		return nil
	}
	c.watch()
	left := req.Length - int64(len(req.Body))
	return c.eachOfRest(req.Rest, left, head, func(b []byte) error { return c.write(b) })
}

// sendChunked writes a body whose length isn't known, and the trailer.
func (c *conn) sendChunked(req *Request, head *buffer) error {
	if len(req.Body) > 0 {
		head.b = appendChunkSize(head.b, len(req.Body))
		if err := c.write(head.b, req.Body, []byte("\r\n")); err != nil {
			return err
		}
	} else if err := c.write(head.b); err != nil {
		return err
	}
	if req.Rest != nil {
		c.watch()
		var size [20]byte
		err := c.eachOfRest(req.Rest, -1, head, func(b []byte) error {
			return c.write(appendChunkSize(size[:0], len(b)), b, []byte("\r\n"))
		})
		if err != nil {
			return err
		}
	}
	head.b = append(head.b[:0], "0\r\n"...)
	if req.Trailer != nil {
		for name, values := range req.Trailer() {
			for _, v := range values {
				if httpguts.ValidTrailerHeader(name) && !forConnection(name) && validField(name, v) {
					head.b = appendField(head.b, name, v)
				}
			}
		}
	}
	return c.write(append(head.b, "\r\n"...))
}

func appendChunkSize(b []byte, n int) []byte {
	return append(strconv.AppendInt(b, int64(n), 16), "\r\n"...)
}

// eachOfRest hands on what rest holds, left bytes of it or, if that is negative, all.
func (c *conn) eachOfRest(rest io.Reader, left int64, in *buffer, send func([]byte) error) error {
	if cap(in.b) < chunkSize {
		in.b = make([]byte, chunkSize)
	}
	buf := in.b[:chunkSize]
	for {
		if c.early.Load() {
			return errEarly
		}
		n, err := rest.Read(buf)
		c.restRead = true
		if left >= 0 {
			if int64(n) > left {
				return errLength
			}
			left -= int64(n)
		}
		if n > 0 {
			if failed := send(buf[:n]); failed != nil {
				return failed
			}
		}
		switch {
		case errors.Is(err, io.EOF) && left > 0:
			return errLength
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return &RestError{err}
		}
	}
}

// write writes the pieces, over TLS in few system calls.
func (c *conn) write(pieces ...[]byte) error {
	if c.tls == nil {
		return c.socket.writePieces(pieces...)
	}
	c.socket.gather()
	for _, p := range pieces {
		if _, err := c.tls.Write(p); err != nil {
			_ = c.socket.flush()
			return fmt.Errorf("encrypting: %w", err)
		}
	}
	return c.socket.flush()
}
