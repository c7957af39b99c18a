package upstream_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http/httpguts"

	"patrol/proxy/upstream"
)

// recorded is a connection whose other end has sent all that it ever sends.
type recorded struct{ in *bytes.Reader }

func (r recorded) Read(p []byte) (int, error)       { return r.in.Read(p) }
func (r recorded) Write(p []byte) (int, error)      { return len(p), nil }
func (r recorded) Close() error                     { return nil }
func (r recorded) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (r recorded) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (r recorded) SetDeadline(time.Time) error      { return nil }
func (r recorded) SetReadDeadline(time.Time) error  { return nil }
func (r recorded) SetWriteDeadline(time.Time) error { return nil }

// validOnly reports whether text has what is valid and net/http refuses: a space before
// a chunk's extension, and a line longer than its buffer.
func validOnly(text []byte) bool {
	for line := range bytes.Lines(text) {
		if len(line) > 4000 || bytes.Contains(line, []byte(" ;")) || bytes.Contains(line, []byte("\t;")) {
			return true
		}
	}
	return false
}

// FuzzAnswer: what this client makes a whole answer of is the same answer for net/http.
func FuzzAnswer(f *testing.F) {
	for _, s := range scripts() {
		if len(s.text) < 1000 {
			f.Add([]byte(s.text), s.method == "HEAD")
		}
	}
	f.Fuzz(func(t *testing.T, text []byte, head bool) {
		method := "GET"
		if head {
			method = "HEAD"
		}
		c := upstream.New(upstream.Config{
			Dial:  func(context.Context, string, string) (net.Conn, error) { return recorded{bytes.NewReader(text)}, nil },
			Proxy: func(*url.URL) (*url.URL, error) { return nil, nil }, //nolint:nilnil // no proxy
		})
		defer c.Close()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		ours := ending(doWith(ctx, c.Host(&played), &upstream.Request{Method: method, Target: "/"}))
		if ctx.Err() != nil {
			t.Fatalf("%q hangs", text)
		}
		if ours.end != "clean" {
			if ours.end != "error" && ours.end != "cut" {
				t.Fatal(ours)
			}
			return
		}
		if theirs := parsed(text, method); !ours.same(theirs) && !validOnly(text) {
			t.Errorf("%q\nours   %v\ntheirs %v", text, ours, theirs)
		}
	})
}

// parsed is what http.ReadResponse makes of an answer.
func parsed(text []byte, method string) outcome {
	in := bufio.NewReader(bytes.NewReader(text))
	for {
		res, err := http.ReadResponse(in, &http.Request{Method: method})
		if err != nil {
			return outcome{end: "error", err: err}
		}
		if res.StatusCode < 200 {
			continue
		}
		return read(res)
	}
}

// FuzzRequest: what is written for a request is read by net/http as that request and
// nothing more, or the request is refused.
func FuzzRequest(f *testing.F) {
	for i, method := range []string{"GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "CONNECT", "M-SEARCH", "", "G ET", "GET\r\n"} {
		f.Add(method, "/a?b=c", "X-Name", "value", "X-T", "t", []byte("body"), uint16(i), byte(i), int8(0))
	}
	for _, target := range []string{"", "/a b", "/\r\nX: y", "*", "//host/x", "http://other/", "/%zz", "/\x7f", "/é", "/#x", "/a HTTP/1.1\r\n\r\nGET /b"} {
		f.Add("POST", target, "X", "v", "", "", []byte{}, uint16(0), byte(1), int8(0))
	}
	for _, name := range []string{"Host", "Content-Length", "transfer-encoding", "Connection", "Te", "Trailer", "X Y", "", ":", "X\r\nY", "Expect", "Upgrade", "Keep-Alive", "Proxy-Authorization"} {
		f.Add("POST", "/", name, "5", name, "5", []byte("hello"), uint16(2), byte(2), int8(0))
	}
	for _, value := range []string{"a\r\nb: c", "a\nb", "a\x00", "\t a ", "é", "\xff", "X-Name", "close, x-name"} {
		f.Add("POST", "/", "X-Name", "v", "X-T", value, []byte("b"), uint16(0), byte(3), int8(0))
		f.Add("POST", "/", "X-Name", value, "X-T", value, []byte("\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n"), uint16(2), byte(3), int8(0))
	}
	for _, wrong := range []int8{1, -1} {
		f.Add("POST", "/", "X", "v", "X-T", "t", []byte("hello"), uint16(2), byte(wrongLength+1), wrong)
	}
	f.Fuzz(fuzzRequest)
}

// wrongLength is the first form in which a body isn't as long as it says. They are few:
// each takes a second.
const wrongLength = 252

func fuzzRequest(t *testing.T, method, target, name, value, trailerName, trailerValue string, body []byte, split uint16, form byte, wrong int8) {
	at := min(int(split), len(body))
	if form < wrongLength {
		wrong = 0
	}
	req := &upstream.Request{Method: method, Target: target, Header: http.Header{}, Body: body[:at], Length: int64(len(body)) + int64(wrong)}
	req.Header.Add(name, value)
	if form&4 != 0 {
		req.Header.Add("Connection", "keep-alive, "+name)
		req.Header.Add("X-Kept", "k")
	}
	if form&1 != 0 || at < len(body) {
		req.Rest = bytes.NewReader(body[at:])
	}
	if req.Length < int64(at) && req.Rest != nil {
		return // it is the caller's to get this right
	}
	trailer := http.Header{}
	if form&2 != 0 {
		req.Length, wrong = -1, 0
		trailer.Add(trailerName, trailerValue)
		req.Trailer = trailer
	}
	got := make(chan received, 1)
	c := upstream.New(upstream.Config{
		Dial: func(context.Context, string, string) (net.Conn, error) {
			own, other := net.Pipe()
			go func() { got <- receive(other, method, target) }()
			return own, nil
		},
		Proxy: func(*url.URL) (*url.URL, error) { return nil, nil }, //nolint:nilnil // no proxy
	})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	a := doWith(ctx, c.Host(&played), req)
	c.Close()
	if e, ok := errors.AsType[*upstream.Error](a.err); ok && !e.Sent {
		return
	}
	r := <-got
	switch {
	case wrong != 0 && req.Length >= 0:
		if a.err == nil || r.err == nil || r.left != "" {
			t.Errorf("a body that isn't as long as it says: %v, %v", a, r)
		}
	case !a.ok() || r.err != nil:
		t.Errorf("%v %v, read as %v", a.err, a.cut, r.err)
	default:
		r.compare(t, req, body, trailer)
	}
}

// received is what a server has read.
type received struct {
	request *http.Request
	body    string
	left    string // after it
	err     error
}

func receive(c net.Conn, method, target string) (r received) {
	defer c.Close()
	in := bufio.NewReader(c)
	// A server of net/http knows fewer targets than there are.
	line := method + " " + target + " HTTP/1.1\r\n"
	if len(strings.Fields(line)) != 3 || strings.Count(line, " ") != 2 {
		r.err = fmt.Errorf("%q isn't one line of three words", line)
		return r
	}
	b := make([]byte, len(line))
	if _, r.err = io.ReadFull(in, b); r.err != nil {
		return r
	}
	if string(b) != line {
		r.err = fmt.Errorf("its first line is %q", b)
		return r
	}
	in = bufio.NewReader(io.MultiReader(strings.NewReader("POST / HTTP/1.1\r\n"), in))
	if r.request, r.err = http.ReadRequest(in); r.err != nil {
		return r
	}
	body, err := io.ReadAll(r.request.Body)
	if r.body, r.err = string(body), err; err != nil {
		return r
	}
	_, _ = io.WriteString(c, "HTTP/1.1 204 No Content\r\n\r\n")
	left, _ := io.ReadAll(in)
	r.left = string(left)
	return r
}

// compare fails the test if r isn't req.
func (r received) compare(t *testing.T, req *upstream.Request, body []byte, trailer http.Header) {
	t.Helper()
	if r.body != string(body) || r.left != "" || r.request.Host != played.Host {
		t.Errorf("body %q, want %q; %q is left; host %q", r.body, body, r.left, r.request.Host)
	}
	if got, want := r.request.Header, trimmed(endToEnd(req.Header), "Host", "Content-Length"); !reflect.DeepEqual(without(got, "Content-Length"), want) {
		t.Errorf("header %q, want %q", got, want)
	}
	for name, values := range trailer {
		if !httpguts.ValidTrailerHeader(name) || !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(values[0]) {
			delete(trailer, name)
		}
	}
	if got, want := r.request.Trailer, trimmed(endToEnd(trailer)); len(got)+len(want) > 0 && !reflect.DeepEqual(got, want) {
		t.Errorf("trailer %q, want %q", got, want)
	}
}

func without(header http.Header, name string) http.Header {
	delete(header, name)
	return header
}

// trimmed returns header as a reader has it, without some fields.
func trimmed(header http.Header, but ...string) http.Header {
	for _, name := range but {
		delete(header, name)
	}
	for name, values := range header {
		header[name] = []string{strings.Trim(values[0], " \t")}
	}
	return header
}
