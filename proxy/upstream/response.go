package upstream

import (
	"bytes"
	"errors"
	"io"
	"math"
	"net"
	"net/http"
	"strconv"
	"time"

	"golang.org/x/net/http/httpguts"
)

// Response is an answer whose head has come. Its body is read from it, in one goroutine.
// A body that ends early ends with io.ErrUnexpectedEOF, never with io.EOF.
type Response struct {
	Status  int
	Length  int64       // of the body, in bytes; -1 if it isn't known
	Trailer http.Header // what came after the body, once Read has returned io.EOF

	conn     *conn       // nil once it was given back or closed
	stop     func() bool // ends the watching of the request's context
	reusable bool        // the connection, after the body's end
	err      error       // of all Reads to come

	next       part
	left       int64 // bytes of the data to come
	chunked    bool
	untilClose bool
	overhead   int    // bytes around the data, as far as there are too many
	trailer    []byte // the lines of it that have come
}

// part is what comes next of a body (RFC 9112, 7.1). All but data are lines.
type part uint8

const (
	data part = iota
	dataEnd
	chunkSize
	trailerLine
)

const (
	mostChunkLine = 4 << 10  // bytes, of a chunk's size with its extensions
	mostOverhead  = 16 << 10 // bytes that a body may spend on them beyond its data
)

// newResponse returns the answer that has this head, whose fields are in header.
func (c *conn) newResponse(req *Request, h head, header http.Header) (*Response, error) {
	r := &Response{Status: h.status, Length: h.length, conn: c, reusable: !h.closes && h.minor == 1}
	switch {
	case req.Method == http.MethodHead, req.Method == http.MethodConnect, h.status == http.StatusNoContent, h.status == http.StatusNotModified:
		// What the head says of a body that must not come, may come all the same.
		r.reusable = r.reusable && (h.status != http.StatusNoContent || h.length <= 0 && !h.chunked) && req.Method != http.MethodConnect
	case h.chunked:
		r.chunked, r.next = true, chunkSize
	case h.length >= 0:
		r.left = h.length
	case r.reusable:
		return nil, malformed("nothing says how long it is")
	default:
		r.untilClose, r.left = true, math.MaxInt64
	}
	if !h.chunked {
		delete(header, "Trailer")
	}
	c.idleFor = idleFor
	if h.keepAlive > 0 {
		c.idleFor = min(idleFor, h.keepAlive-time.Second) // it began to count before
	}
	return r, nil
}

// BeforeWait sets what a Read calls right before it waits for the upstream: then is the
// time to flush what was read before.
func (r *Response) BeforeWait(call func()) {
	if r.conn != nil {
		r.conn.socket.beforeWait = call
	}
}

// Read returns what has come of the body. It waits only if that is nothing.
func (r *Response) Read(p []byte) (n int, err error) {
	for r.err == nil && n < len(p) && (n == 0 || r.conn.in.has(r.next)) {
		if r.next != data {
			r.fail(r.readLine())
			continue
		}
		m, err := r.conn.in.read(p[n:][:min(int64(len(p)-n), r.left)])
		n += m
		r.left -= int64(m)
		switch {
		case err != nil && r.untilClose && errors.Is(err, io.EOF):
			r.end()
		case err != nil:
			r.fail(err)
		case r.left > 0:
		case r.chunked:
			r.next = dataEnd
		default:
			r.end()
		}
	}
	if n > 0 {
		return n, nil
	}
	return 0, r.err
}

// readLine reads a line around the data of a chunked body.
func (r *Response) readLine() error {
	line, err := r.conn.in.line(mostChunkLine)
	switch {
	case err != nil:
		return err
	case r.next == dataEnd:
		r.next = chunkSize
		if len(line) > 0 {
			return malformed("a chunk is longer than it says")
		}
	case r.next == chunkSize:
		return r.beginChunk(line)
	case len(line) == 0:
		return r.endTrailer()
	default:
		if r.trailer = append(append(r.trailer, line...), "\r\n"...); len(r.trailer) > mostHead {
			return malformed("its trailer is too long")
		}
	}
	return nil
}

// beginChunk reads a chunk's size, and leaves its extensions out.
func (r *Response) beginChunk(line []byte) error {
	size, extensions, _ := bytes.Cut(line, []byte(";"))
	size = bytes.TrimRight(size, " \t")
	n, err := strconv.ParseUint(string(size), 16, 63)
	if err != nil || len(size) > 16 || !httpguts.ValidHeaderFieldValue(string(extensions)) {
		return malformed("the size of a chunk is no number")
	}
	if r.left, r.next = int64(n), data; n == 0 {
		r.next = trailerLine
	}
	// Servers put little around the data. More is an attempt to keep us busy.
	if r.overhead = max(0, r.overhead+len(line)-16-int(min(n, mostOverhead))); r.overhead > mostOverhead {
		return malformed("its chunks are mostly extensions")
	}
	return nil
}

// endTrailer parses the trailer and ends the answer.
func (r *Response) endTrailer() error {
	if len(r.trailer) > 0 {
		fields := make(http.Header)
		if err := (&head{length: -1}).parseFields(string(r.trailer), fields); err != nil {
			return err
		}
		for name := range fields {
			if !httpguts.ValidTrailerHeader(name) {
				delete(fields, name)
			}
		}
		r.Trailer = fields
	}
	r.end()
	return nil
}

// end gives the connection back after the answer's end.
func (r *Response) end() {
	c := r.conn
	r.conn, r.err = nil, io.EOF
	c.socket.beforeWait = nil
	// If the watching can't be stopped, the connection is being closed, and the next
	// request must not be on it.
	if r.stop() && r.reusable && c.in.buffered() == 0 {
		c.host.put(c)
		return
	}
	c.close()
}

// fail ends the answer with an error, if there is one.
func (r *Response) fail(err error) {
	if err == nil {
		return
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	_ = r.Close()
	r.err = err
}

// Close ends the answer. If its end hasn't been read, it closes the connection.
func (r *Response) Close() error {
	if r.conn != nil {
		r.stop()
		r.conn.close()
		r.conn, r.err = nil, net.ErrClosed
	}
	return nil
}
