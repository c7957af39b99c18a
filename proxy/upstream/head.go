package upstream

import (
	"bytes"
	"fmt"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"
)

const (
	mostHead    = 256 << 10 // bytes of an answer's head, all of its fields together
	mostFields  = 1000      // in a head
	mostInterim = 16        // answers with 1xx before the one
)

// ProtocolError is an answer that isn't HTTP/1.1, or can be read in more than one way.
// It holds nothing of what the upstream has sent.
type ProtocolError struct{ What string }

func (e *ProtocolError) Error() string { return "the answer isn't valid HTTP/1.1: " + e.What }

func malformed(what string) error { return &ProtocolError{what} }

// framing is what an answer's fields say of its body and its connection.
type framing struct {
	minor     int   // of its HTTP/1
	length    int64 // -1: none is given
	chunked   bool
	closes    bool
	keepsFor  time.Duration // 0: not given
	connNames []string      // the values of Connection
}

// readAnswer reads up to the end of the head of the answer to req, past those with 1xx.
func (c *conn) readAnswer(req *Request, header http.Header) (*Response, error) {
	for range mostInterim + 1 {
		head, err := c.in.head()
		if err != nil {
			return nil, err
		}
		clear(header)
		status, f, err := parseHead(head, header)
		if err != nil {
			return nil, err
		}
		c.in.r += len(head)
		switch {
		case status == http.StatusSwitchingProtocols:
			return nil, malformed("it changes the protocol without being asked")
		case status >= 200:
			return c.newResponse(req, status, f, header)
		case status != http.StatusContinue && req.Interim != nil:
			for _, name := range []string{"Content-Length", "Trailer"} {
				delete(header, name)
			}
			req.Interim(status)
		}
	}
	return nil, malformed("too many answers with 1xx before the one")
}

// head returns the next answer's head, with the empty line that ends it. It stays in
// the buffer.
func (r *reader) head() ([]byte, error) {
	line := 0 // where the line begins that isn't complete
	for {
		b := r.buf[r.r:r.w]
		if err := checkStart(b); err != nil {
			return nil, err
		}
		for {
			n := bytes.IndexByte(b[line:], '\n')
			if n < 0 {
				break
			}
			if n == 0 || b[line+n-1] != '\r' {
				return nil, malformed("a line ends without CRLF")
			}
			line += n + 1
			if n == 1 {
				return b[:line], nil
			}
		}
		if len(b) >= mostHead {
			return nil, malformed("its head is too long")
		}
		if err := r.fill(); err != nil {
			return nil, ended(err)
		}
	}
}

// checkStart looks at the beginning of an answer, as far as it is there: another
// protocol may never end its first line.
func checkStart(b []byte) error {
	const start = "HTTP/1."
	n := min(len(b), len(start))
	if string(b[:n]) != start[:n] {
		return malformed("it doesn't begin with HTTP/1.1 or HTTP/1.0")
	}
	return nil
}

// parseHead reads a head that ends with an empty line, each of whose lines ends with
// CRLF. It puts the fields that aren't for one connection only into header.
func parseHead(head []byte, header http.Header) (status int, f framing, err error) {
	f.length = -1
	text := string(head[:len(head)-len("\r\n")])
	line, fields, _ := strings.Cut(text, "\r\n")
	if status, f.minor, err = parseStatusLine(line); err != nil {
		return 0, f, err
	}
	if err = eachField(fields, header, &f); err != nil {
		return 0, f, err
	}
	for _, names := range f.connNames {
		for name := range strings.SplitSeq(names, ",") {
			f.connectionOption(textproto.TrimString(name), header)
		}
	}
	if f.chunked && f.length >= 0 {
		return 0, f, malformed("it has both Content-Length and Transfer-Encoding")
	}
	if f.chunked && f.minor == 0 {
		return 0, f, malformed("HTTP/1.0 with Transfer-Encoding")
	}
	return status, f, nil
}

// parseStatusLine reads "HTTP/1.1 200 OK". The reason may be missing.
func parseStatusLine(line string) (status, minor int, err error) {
	if len(line) < len("HTTP/1.1 200") || line[7] != '1' && line[7] != '0' || line[8] != ' ' ||
		len(line) > 12 && line[12] != ' ' || !httpguts.ValidHeaderFieldValue(line) {
		return 0, 0, malformed("its first line is no status line")
	}
	status, err = strconv.Atoi(line[9:12])
	if err != nil || status < 100 || line[9] == '+' {
		return 0, 0, malformed("its status is no number of three digits")
	}
	return status, int(line[7] - '0'), nil
}

// eachField parses the lines of a header or a trailer.
func eachField(lines string, header http.Header, f *framing) error {
	n := strings.Count(lines, "\r\n")
	if n > mostFields {
		return malformed("it has too many fields")
	}
	values := make([]string, n) // in one allocation
	for ; n > 0; n-- {
		var line string
		line, lines, _ = strings.Cut(lines, "\r\n")
		name, value, found := strings.Cut(line, ":")
		value = strings.Trim(value, " \t")
		switch {
		case line[0] == ' ' || line[0] == '\t':
			return malformed("a field goes on in a second line")
		case !found || !validField(name, value):
			return malformed("a line of its header is no field")
		}
		name = textproto.CanonicalMIMEHeaderKey(name)
		keep, err := f.take(name, value)
		if err != nil {
			return err
		}
		if !keep {
			continue
		}
		if before := header[name]; before != nil {
			header[name] = append(before, value)
			continue
		}
		values[n-1] = value
		header[name] = values[n-1 : n : n]
	}
	return nil
}

// take notes what a field says of the framing, and reports whether it is for the
// answer's reader.
func (f *framing) take(name, value string) (keep bool, err error) {
	switch name {
	case "Content-Length":
		if f.length >= 0 {
			return false, malformed("it has more than one Content-Length")
		}
		if f.length, err = parseLength(value); err != nil {
			return false, err
		}
		return true, nil
	case "Transfer-Encoding":
		if f.chunked || !strings.EqualFold(value, "chunked") {
			return false, malformed("its Transfer-Encoding isn't chunked")
		}
		f.chunked = true
	case "Connection":
		f.connNames = append(f.connNames, value)
	case "Keep-Alive":
		f.keepsFor = keepAliveTimeout(value)
	case "Trailer":
		return true, nil
	}
	return !forConnection(name), nil
}

func parseLength(s string) (int64, error) {
	n, err := strconv.ParseUint(s, 10, 63)
	if err != nil || s[0] == '+' {
		return 0, malformed("its Content-Length is no number")
	}
	return int64(n), nil
}

// connectionOption takes in a name that Connection holds.
func (f *framing) connectionOption(name string, header http.Header) {
	switch {
	case strings.EqualFold(name, "close"):
		f.closes = true
	case name != "":
		delete(header, textproto.CanonicalMIMEHeaderKey(name))
	}
}

// keepAliveTimeout returns what "timeout=5, max=100" grants, 0 if it doesn't say.
func keepAliveTimeout(value string) time.Duration {
	for option := range strings.SplitSeq(value, ",") {
		name, seconds, _ := strings.Cut(textproto.TrimString(option), "=")
		if n, err := strconv.Atoi(seconds); strings.EqualFold(name, "timeout") && err == nil && n >= 0 {
			return time.Duration(min(n, 3600)) * time.Second
		}
	}
	return 0
}

// ended returns the error of what should have gone on.
func ended(err error) error { return fmt.Errorf("reading the answer: %w", err) }
