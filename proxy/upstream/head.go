package upstream

import (
	"bytes"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"
)

const (
	mostHead    = 256 << 10 // bytes of an answer's head
	mostFields  = 1000      // in a head
	mostInterim = 16        // answers with 1xx before the one
)

// ProtocolError is an answer that isn't HTTP/1.1, or can be read in more than one way.
// It holds nothing of what the upstream has sent.
type ProtocolError struct{ What string }

func (e *ProtocolError) Error() string { return "the answer isn't valid HTTP/1.1: " + e.What }

func malformed(what string) error { return &ProtocolError{what} }

// head is what an answer's head says of its body and its connection.
type head struct {
	status, minor int   // minor is that of its HTTP/1
	length        int64 // -1: it doesn't say
	chunked       bool
	closes        bool
	keepAlive     time.Duration // 0: it doesn't say
	connection    []string      // the values of Connection
}

// readAnswer reads up to the end of the answer's head, past those with 1xx.
func (c *conn) readAnswer(req *Request, header http.Header) (*Response, error) {
	for range mostInterim + 1 {
		text, err := c.in.head()
		if err != nil {
			return nil, err
		}
		clear(header)
		h := head{length: -1}
		if err := h.parse(text, header); err != nil {
			return nil, err
		}
		switch {
		case h.status == http.StatusSwitchingProtocols:
			return nil, malformed("it changes the protocol without being asked")
		case h.status >= 200:
			return c.newResponse(req, h, header)
		case h.status != http.StatusContinue && req.Interim != nil:
			delete(header, "Content-Length")
			delete(header, "Trailer")
			req.Interim(h.status)
		}
	}
	return nil, malformed("too many answers with 1xx before the one")
}

// head takes the next answer's head, without the empty line that ends it.
func (r *reader) head() (string, error) {
	for line := 0; ; { // where the line begins that hasn't ended
		b := r.buf[r.r:r.w]
		if err := checkStart(b); err != nil {
			return "", err
		}
		for n := bytes.IndexByte(b[line:], '\n'); n >= 0; n = bytes.IndexByte(b[line:], '\n') {
			if n == 0 || b[line+n-1] != '\r' {
				return "", malformed("a line ends without CRLF")
			}
			if n == 1 {
				r.r += line + 2
				return string(b[:line]), nil
			}
			line += n + 1
		}
		if len(b) >= mostHead {
			return "", malformed("its head is too long")
		}
		if err := r.fill(); err != nil {
			return "", err
		}
	}
}

// checkStart looks at an answer's first bytes, as far as they are there: another protocol
// may never end its first line.
func checkStart(b []byte) error {
	const start = "HTTP/1."
	if n := min(len(b), len(start)); string(b[:n]) != start[:n] {
		return malformed("it doesn't begin with HTTP/1.1 or HTTP/1.0")
	}
	return nil
}

// parse reads lines that all end with CRLF. It puts the fields that aren't for one
// connection only into header.
func (h *head) parse(text string, header http.Header) (err error) {
	line, fields, _ := strings.Cut(text, "\r\n")
	if len(line) < len("HTTP/1.1 200") || line[7] != '1' && line[7] != '0' || line[8] != ' ' ||
		len(line) > 12 && line[12] != ' ' || !httpguts.ValidHeaderFieldValue(line) {
		return malformed("its first line is no status line")
	}
	h.minor = int(line[7] - '0')
	status, err := strconv.ParseUint(line[9:12], 10, 16)
	if h.status = int(status); err != nil || status < 100 {
		return malformed("its status is no number of three digits")
	}
	if err := h.parseFields(fields, header); err != nil {
		return err
	}
	for _, names := range h.connection {
		for name := range strings.SplitSeq(names, ",") {
			name = textproto.CanonicalMIMEHeaderKey(textproto.TrimString(name))
			h.closes = h.closes || name == "Close"
			delete(header, name)
		}
	}
	if h.chunked && (h.length >= 0 || h.minor == 0) {
		return malformed("it has Transfer-Encoding with Content-Length or HTTP/1.0")
	}
	return nil
}

// parseFields parses the lines of a header or a trailer.
func (h *head) parseFields(lines string, header http.Header) error {
	n := strings.Count(lines, "\r\n")
	if n > mostFields {
		return malformed("it has too many fields")
	}
	values := make([]string, n) // of all fields, in one allocation
	for ; n > 0; n-- {
		line, rest, _ := strings.Cut(lines, "\r\n")
		lines = rest
		name, value, found := strings.Cut(line, ":")
		// A line that continues the one before begins with a space, which no name does.
		if value = strings.Trim(value, " \t"); !found || !validField(name, value) {
			return malformed("a line of its header is no field")
		}
		name = textproto.CanonicalMIMEHeaderKey(name)
		if err := h.note(name, value); err != nil {
			return err
		}
		before := header[name]
		switch {
		case forConnection(name) && name != "Trailer":
		case before != nil:
			header[name] = append(before, value)
		default:
			values[n-1] = value
			header[name] = values[n-1 : n : n]
		}
	}
	return nil
}

// note takes in what a field says of the body and the connection.
func (h *head) note(name, value string) error {
	switch name {
	case "Content-Length":
		n, err := strconv.ParseUint(value, 10, 63)
		if err != nil || h.length >= 0 {
			return malformed("its Content-Length is no number, or not the only one")
		}
		h.length = int64(n)
	case "Transfer-Encoding":
		if h.chunked || len(value) != len("chunked") || !strings.EqualFold(value, "chunked") { // K, the Kelvin sign, folds to k
			return malformed("its Transfer-Encoding isn't chunked")
		}
		h.chunked = true
	case "Connection":
		h.connection = append(h.connection, value)
	case "Keep-Alive": // "timeout=5, max=100"
		for option := range strings.SplitSeq(value, ",") {
			key, seconds, _ := strings.Cut(textproto.TrimString(option), "=")
			if n, err := strconv.ParseUint(seconds, 10, 16); err == nil && strings.EqualFold(key, "timeout") {
				h.keepAlive = time.Duration(n) * time.Second
			}
		}
	}
	return nil
}

func validField(name, value string) bool {
	return httpguts.ValidHeaderFieldName(name) && httpguts.ValidHeaderFieldValue(value)
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
