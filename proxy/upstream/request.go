package upstream

import (
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/net/http/httpguts"
)

var (
	errEarly   = errors.New("the answer came before the request's end")
	errLength  = errors.New("the request's body isn't as long as it says")
	errInvalid = errors.New("the request's method, target or header isn't valid")
)

// RestError is why Request.Rest couldn't be read to its end.
type RestError struct{ Err error }

func (e *RestError) Error() string { return "reading the request's body: " + e.Err.Error() }
func (e *RestError) Unwrap() error { return e.Err }

const (
	// A body of up to smallBody bytes is sent with the head as one piece: to copy it
	// costs less than one more record of TLS, or piece of a writev.
	smallBody = 16 << 10

	// What isn't longer is taken by the buffers on the way at once, read or not: no
	// early answer can be waited for in vain.
	fitsBuffers = 32 << 10

	restSize = 32 << 10 // how much of Rest is read at a time
)

// scratch lends the buffers that heads are made in.
var scratch = sync.Pool{New: func() any { return new(buffer) }}

type buffer struct{ b []byte }

// head returns the request's line and header as RFC 9112 has them.
func (r *Request) head(authority string) (*buffer, error) {
	buf := scratch.Get().(*buffer)
	var err error
	if buf.b, err = r.appendHead(buf.b[:0], authority); err != nil {
		scratch.Put(buf)
	}
	return buf, err
}

func (r *Request) appendHead(b []byte, authority string) ([]byte, error) {
	valid := httpguts.ValidHeaderFieldName(r.Method) && r.Target != "" && // a method is a token too
		!strings.ContainsFunc(r.Target, func(c rune) bool { return c <= ' ' || c == 0x7f })
	b = append(append(append(append(b, r.Method...), ' '), r.Target...), " HTTP/1.1\r\nHost: "...)
	b = append(append(b, authority...), "\r\n"...)
	named := r.Header["Connection"]
	for name, values := range r.Header {
		if forConnection(name) || name == "Content-Length" || name == "Host" || r.Omit != nil && r.Omit(name) ||
			named != nil && httpguts.HeaderValuesContainsToken(named, name) {
			continue
		}
		for _, v := range values {
			valid = valid && validField(name, v)
			b = appendField(b, name, v)
		}
	}
	for _, f := range r.Add {
		valid = valid && validField(f.Name, f.Value)
		b = appendField(b, f.Name, f.Value)
	}
	switch {
	case !valid:
		return b, errInvalid
	case r.Length >= 0 && (r.Length < int64(len(r.Body)) || r.Rest == nil && r.Length > int64(len(r.Body))):
		return b, errLength
	case r.Length < 0:
		b = appendField(b, "Transfer-Encoding", "chunked")
	case r.Length > 0 || r.Method == http.MethodPost || r.Method == http.MethodPut || r.Method == http.MethodPatch:
		b = appendField(b, "Content-Length", strconv.FormatInt(r.Length, 10))
	}
	return append(b, "\r\n"...), nil
}

func appendField(b []byte, name, value string) []byte {
	return append(append(append(append(b, name...), ": "...), value...), "\r\n"...)
}

// send writes the request, whose head is in buf, and gives buf back. It returns errEarly if
// an answer came before its end.
func (c *conn) send(req *Request, buf *buffer) error {
	defer scratch.Put(buf)
	c.early.Store(false)
	if len(req.Body) > fitsBuffers || req.Rest != nil {
		defer c.watch()()
		c.socket.allowSilence(readsAfter)
	}
	err := c.sendBody(req, buf)
	if err != nil && c.early.Load() {
		return errEarly
	}
	return err
}

// sendBody writes the head, which is in buf, and the body.
func (c *conn) sendBody(req *Request, buf *buffer) error {
	chunked := req.Length < 0
	err := c.writeData(buf, req.Body, chunked)
	if err == nil && req.Rest != nil {
		err = c.sendRest(req, buf, chunked)
	}
	if err != nil || !chunked {
		return err
	}
	end := append(buf.b[:0], "0\r\n"...)
	for name, values := range req.Trailer {
		for _, v := range values {
			if httpguts.ValidTrailerHeader(name) && !forConnection(name) && validField(name, v) && (req.Omit == nil || !req.Omit(name)) {
				end = appendField(end, name, v)
			}
		}
	}
	return c.write(append(end, crlf...))
}

var crlf = []byte("\r\n")

// writeData writes what is in buf, and data as a part of the body.
func (c *conn) writeData(buf *buffer, data []byte, chunked bool) error {
	switch {
	case chunked && len(data) > 0:
		buf.b = append(strconv.AppendInt(buf.b, int64(len(data)), 16), crlf...)
		return c.write(buf.b, data, crlf)
	case len(data) <= smallBody:
		buf.b = append(buf.b, data...)
		return c.write(buf.b)
	}
	return c.write(buf.b, data)
}

// sendRest writes what Rest holds. It looks for an early answer between its Reads.
func (c *conn) sendRest(req *Request, buf *buffer, chunked bool) error {
	piece := make([]byte, restSize)
	for left := req.Length - int64(len(req.Body)); ; {
		if c.early.Load() {
			return errEarly
		}
		n, err := req.Rest.Read(piece)
		if left -= int64(n); !chunked && (left < 0 || left > 0 && errors.Is(err, io.EOF)) {
			return &RestError{errLength}
		}
		buf.b = buf.b[:0]
		if n > 0 {
			if err := c.writeData(buf, piece[:n], chunked); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return &RestError{err}
		}
	}
}

// write writes the pieces, over TLS in few system calls.
func (c *conn) write(pieces ...[]byte) error {
	if c.tls == nil {
		all := net.Buffers(pieces)
		_, err := all.WriteTo(c.socket.Conn)
		return err
	}
	c.socket.gather()
	for _, p := range pieces {
		if _, err := c.tls.Write(p); err != nil {
			_ = c.socket.flush()
			return err
		}
	}
	return c.socket.flush()
}
