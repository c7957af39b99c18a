package upstream

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"golang.org/x/net/http/httpguts"
)

// Response is an answer whose head has come. Its body is read from it; a body that ends
// early is io.ErrUnexpectedEOF, never io.EOF.
type Response struct {
	Status int
	Length int64 // of the body, in bytes; -1 if it isn't known

	// Trailer holds the fields after the body, once Read has returned io.EOF; nil if
	// there were none.
	Trailer http.Header

	conn     *conn
	stop     func() bool // ends the watching of the request's context
	reusable bool        // the connection, after the body's end

	left int64 // bytes of the body to come, or of the chunk; or untilClose or noBody
	err  error // of all Reads to come

	chunked  bool
	next     chunkPart
	overhead int    // bytes beside the data, as far as there are too many
	trailer  []byte // the lines of it that have come
}

const (
	untilClose = -1
	noBody     = -2

	mostChunkLine = 4 << 10  // bytes, of a chunk's size with its extensions
	mostOverhead  = 16 << 10 // bytes that a body may spend on them beyond its data
)

// chunkPart is what comes next in a chunked body.
type chunkPart uint8

const (
	chunkSizeLine chunkPart = iota
	chunkData
	chunkEnd // the CRLF after the data
	trailerLine
)

// newResponse returns the answer whose head f is of. header holds its fields.
func (c *conn) newResponse(req *Request, status int, f framing, header http.Header) (*Response, error) {
	res := &Response{Status: status, Length: f.length, conn: c, reusable: !f.closes && f.minor == 1}
	switch {
	case req.Method == http.MethodHead, status == http.StatusNoContent, status == http.StatusNotModified,
		req.Method == http.MethodConnect && status/100 == 2:
		res.left = noBody
		// What it says of a body that must not come may come all the same.
		res.reusable = res.reusable && (status != http.StatusNoContent || f.length <= 0 && !f.chunked)
	case f.chunked:
		res.chunked = true
	case f.length == 0:
		res.left = noBody
	case f.length > 0:
		res.left = f.length
	case res.reusable:
		return nil, malformed("nothing says how long it is")
	default:
		res.left = untilClose
	}
	if !f.chunked {
		delete(header, "Trailer")
	}
	c.idleFor = idleFor
	if f.keepsFor > 0 {
		// A second less: it begins to count before we do.
		c.idleFor = min(idleFor, f.keepsFor-time.Second)
	}
	return res, nil
}

// BeforeWait sets what each Read calls, in its own goroutine, right before it waits for
// the upstream: whoever passes the answer on flushes then.
func (r *Response) BeforeWait(call func()) {
	if r.conn != nil {
		r.conn.socket.beforeWait = call
	}
}

// Read reads the body. It waits for the upstream if there is nothing of it to return.
func (r *Response) Read(p []byte) (int, error) {
	if r.err != nil || len(p) == 0 {
		return 0, r.err
	}
	n, err := r.read(p)
	if err != nil {
		r.err = err
		if errors.Is(err, io.EOF) {
			r.end()
		} else {
			_ = r.Close()
			r.err = err
		}
	}
	if n > 0 {
		err = nil
	}
	return n, err
}

func (r *Response) read(p []byte) (int, error) {
	switch {
	case r.chunked:
		return r.readChunks(p)
	case r.left == untilClose:
		return r.conn.in.read(p)
	}
	n, err := r.conn.in.read(p[:min(int64(len(p)), r.left)])
	if r.left -= int64(n); r.left == 0 {
		return n, io.EOF
	}
	return n, cut(err)
}

// cut makes an end an error.
func cut(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// readChunks fills p with what has come, over several chunks, and waits only as long as
// there is nothing.
func (r *Response) readChunks(p []byte) (n int, err error) {
	in := &r.conn.in
	for n < len(p) {
		if n > 0 && !in.has(r.next == chunkData) {
			return n, nil
		}
		if r.next != chunkData {
			if err := r.readChunkLine(); err != nil {
				return n, err
			}
			continue
		}
		m, err := in.read(p[n:min(int64(len(p)), int64(n)+r.left)])
		n += m
		if r.left -= int64(m); r.left == 0 {
			r.next = chunkEnd
		}
		if err != nil {
			return n, cut(err)
		}
	}
	return n, nil
}

// readChunkLine reads one of the lines around the data (RFC 9112, 7.1). After the last
// it returns io.EOF.
func (r *Response) readChunkLine() error {
	line, err := r.conn.in.line(mostChunkLine)
	if err != nil {
		return err
	}
	switch r.next {
	case chunkEnd:
		if len(line) > 0 {
			return malformed("a chunk is longer than it says")
		}
		r.next = chunkSizeLine
	case chunkSizeLine:
		// Servers put little beside the data. More is an attempt to keep us busy.
		if r.overhead += len(line); r.overhead > mostOverhead {
			return malformed("its chunks are mostly extensions")
		}
		if r.left, err = parseChunkSize(line); err != nil {
			return err
		}
		r.next = chunkData
		if r.left == 0 {
			r.next = trailerLine
		} else {
			r.overhead = max(0, r.overhead-16-int(min(r.left, mostOverhead)))
		}
	default:
		if len(line) == 0 {
			return r.endTrailer()
		}
		if r.trailer = append(append(r.trailer, line...), "\r\n"...); len(r.trailer) > mostHead {
			return malformed("its trailer is too long")
		}
	}
	return nil
}

// parseChunkSize reads a chunk's size and leaves its extensions out.
func parseChunkSize(line []byte) (int64, error) {
	size, extensions, _ := bytes.Cut(line, []byte(";"))
	size = bytes.TrimRight(size, " \t")
	n, err := strconv.ParseUint(string(size), 16, 63)
	if err != nil || len(size) > 16 || size[0] == '+' || size[0] == '-' || !httpguts.ValidHeaderFieldValue(string(extensions)) {
		return 0, malformed("the size of a chunk is no number")
	}
	return int64(n), nil
}

// endTrailer parses the trailer, and returns io.EOF if it is valid.
func (r *Response) endTrailer() error {
	if len(r.trailer) > 0 {
		fields := make(http.Header)
		if err := eachField(string(r.trailer), fields, &framing{length: -1}); err != nil {
			return err
		}
		for name := range fields {
			if !httpguts.ValidTrailerHeader(name) {
				delete(fields, name)
			}
		}
		r.Trailer, r.trailer = fields, nil
	}
	return io.EOF
}

// end gives the connection back after the answer's end.
func (r *Response) end() {
	c := r.conn
	r.conn, r.err = nil, io.EOF
	c.socket.beforeWait = nil
	// If it can't be stopped, the connection is being closed; another request must
	// not meet that.
	if r.stop() && r.reusable && c.in.buffered() == 0 {
		c.in.shrink()
		c.host.put(c)
		return
	}
	c.close()
}

var errClosed = errors.New("reading an answer that is closed")

// Close ends the answer. Where its end hasn't been read, it closes the connection.
func (r *Response) Close() error {
	if r.conn != nil {
		r.stop()
		r.conn.close()
		r.conn, r.err = nil, errClosed
	}
	return nil
}
