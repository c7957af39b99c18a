package upstream_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/textproto"
	"net/url"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/net/http/httpguts"

	"patrol/proxy/upstream"
)

// outcome is what a client makes of an answer.
type outcome struct {
	end     string // "clean", "cut", or "error" before the head
	status  int
	header  http.Header
	body    string
	trailer http.Header

	untilClose bool // the connection's end is the body's
	next       string
	dials      int64 // with the next request
	err        error
}

// same reports whether both have come to the same.
func (o outcome) same(p outcome) bool {
	return o.end == p.end && o.status == p.status && o.body == p.body &&
		reflect.DeepEqual(o.header, p.header) && reflect.DeepEqual(o.trailer, p.trailer)
}

func (o outcome) String() string {
	return fmt.Sprintf("%s %d %q body %.60q trailer %.200s (%v)", o.end, o.status, fmt.Sprintf("%.200s", fmt.Sprint(o.header)), o.body, fmt.Sprint(o.trailer), o.err)
}

const nextAnswer = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnext"

// stage connects a client with a script, over a kind of socket.
type stage struct {
	mu       sync.Mutex
	listener net.Listener
}

func newStage(t *testing.T, network string) *stage {
	t.Helper()
	addr := "127.0.0.1:0"
	if network == "unix" {
		addr = filepath.Join(t.TempDir(), "s")
	}
	listener, err := net.Listen(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	return &stage{listener: listener}
}

// connect returns a client's end, and plays text at the other, which it holds open
// for a next request if it is told to.
func (s *stage) connect(ctx context.Context, text string, hold bool) (net.Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	addr := s.listener.Addr()
	var d net.Dialer
	c, err := d.DialContext(ctx, addr.Network(), addr.String())
	if err != nil {
		return nil, err
	}
	own, err := s.listener.Accept()
	if err != nil {
		return nil, err
	}
	go func() {
		defer own.Close()
		for head := nextHead(own); head != nil; head = nextHead(own) {
			if bytes.Contains(head, []byte("/next")) {
				_, _ = io.WriteString(own, nextAnswer)
				continue
			}
			if _, err := io.WriteString(own, text); err != nil || !hold {
				return
			}
		}
	}()
	return c, nil
}

// nextHead reads a request without a body.
func nextHead(c net.Conn) []byte {
	var head []byte
	b := make([]byte, 1<<10)
	for !bytes.HasSuffix(head, []byte("\r\n\r\n")) {
		n, err := c.Read(b)
		if err != nil {
			return nil
		}
		head = append(head, b[:n]...)
	}
	return head
}

// play is how a script is played.
type play struct {
	stage *stage
	text  string
	hold  bool // the server, the connection; the client sends a next request
	drip  bool // the client gets it byte by byte
}

// dripping is a connection whose Reads return a byte at most.
type dripping struct{ net.Conn }

func (d dripping) Read(p []byte) (int, error) { return d.Conn.Read(p[:min(1, len(p))]) }

func (p play) dial(dials *atomic.Int64) func(ctx context.Context, _, _ string) (net.Conn, error) {
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		dials.Add(1)
		c, err := p.stage.connect(ctx, p.text, p.hold)
		if err == nil && p.drip {
			c = dripping{c}
		}
		return c, err
	}
}

var played = url.URL{Scheme: "http", Host: "played"}

// ours is what this package makes of it.
func (p play) ours(ctx context.Context, method string) outcome {
	var dials atomic.Int64
	c := upstream.New(upstream.Config{Dial: p.dial(&dials), Proxy: func(*url.URL) (*url.URL, error) { return nil, nil }}) //nolint:nilnil // no proxy
	defer c.Close()
	h := c.Host(&played)
	o := ending(doWith(ctx, h, &upstream.Request{Method: method, Target: "/", Resend: true}))
	if p.hold {
		o.next = ending(doWith(ctx, h, get("/next"))).body
		o.dials = dials.Load()
	}
	return o
}

func ending(a answer) outcome {
	if a.err != nil {
		if len(a.header) > 0 {
			return outcome{end: "error with a header", header: a.header}
		}
		return outcome{end: "error", err: a.err}
	}
	o := outcome{end: "clean", status: a.status, header: a.header, body: a.body, trailer: a.trailer, err: a.cut}
	delete(o.header, "Trailer")
	if a.cut != nil {
		o.end = "cut"
	}
	if len(o.trailer) == 0 {
		o.trailer = nil
	}
	return o
}

// theirs is what http.Transport makes of it.
func (p play) theirs(ctx context.Context, method string) outcome {
	var dials atomic.Int64
	t := &http.Transport{DisableCompression: true, DialContext: p.dial(&dials)}
	defer t.CloseIdleConnections()
	o := transportEnding(ctx, t, method, "/")
	if p.hold {
		o.next = transportEnding(ctx, t, "GET", "/next").body
		o.dials = dials.Load()
	}
	return o
}

func transportEnding(ctx context.Context, t *http.Transport, method, target string) outcome {
	r, err := http.NewRequestWithContext(ctx, method, "http://played"+target, http.NoBody)
	if err != nil {
		panic(err)
	}
	res, err := t.RoundTrip(r)
	if err != nil {
		return outcome{end: "error", err: err}
	}
	return read(res)
}

// read reads an answer of net/http to its end.
func read(res *http.Response) outcome {
	defer res.Body.Close()
	o := outcome{end: "clean", status: res.StatusCode, header: endToEnd(res.Header), untilClose: res.ContentLength < 0 && len(res.TransferEncoding) == 0}
	if res.StatusCode == http.StatusSwitchingProtocols {
		return o // its body is the connection
	}
	body, err := io.ReadAll(res.Body)
	if o.body = string(body); err != nil {
		o.end, o.err = "cut", err
		return o
	}
	for name, values := range res.Trailer {
		if values != nil && httpguts.ValidTrailerHeader(name) {
			if o.trailer == nil {
				o.trailer = http.Header{}
			}
			o.trailer[name] = values
		}
	}
	return o
}

// endToEnd returns the fields that aren't for one connection only.
func endToEnd(header http.Header) http.Header {
	header = maps.Clone(header)
	for _, values := range header["Connection"] {
		for name := range strings.SplitSeq(values, ",") {
			if name = textproto.CanonicalMIMEHeaderKey(textproto.TrimString(name)); name != "Close" {
				delete(header, name)
			}
		}
	}
	for _, name := range []string{
		"Connection", "Keep-Alive", "Proxy-Connection", "Proxy-Authenticate", "Proxy-Authorization",
		"Proxy-Authentication-Info", "Te", "Trailer", "Transfer-Encoding", "Upgrade",
	} {
		delete(header, name)
	}
	return header
}

// TestAnswers compares what this client and http.Transport make of answers: whole, byte
// by byte, and cut at each byte. Where they differ, ours refuses what is accepted there,
// and stricter says why.
func TestAnswers(t *testing.T) {
	printed := log.Writer()
	log.SetOutput(io.Discard) // http.Transport tells of stray bytes
	t.Cleanup(func() { log.SetOutput(printed) })
	groups := make(map[string][]script)
	for _, s := range scripts() {
		group, _, _ := strings.Cut(s.name, ": ")
		groups[group] = append(groups[group], s)
	}
	t.Run("groups", func(t *testing.T) {
		for _, group := range slices.Sorted(maps.Keys(groups)) {
			t.Run(group, func(t *testing.T) {
				t.Parallel()
				compareGroup(t, groups[group])
			})
		}
	})
	for _, d := range slices.Concat(stricter, laxer, notReused) {
		if !d.met.Load() {
			t.Errorf("no answer differs because %s (%v)", d.why, d.names)
		}
	}
}

func compareGroup(t *testing.T, group []script) {
	tcp, local := newStage(t, "tcp"), newStage(t, "unix")
	tried := make(map[string]bool) // as a beginning, with the method
	for i, s := range group {
		if s.method == "" {
			s.method = "GET"
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		s.compare(ctx, t, play{stage: tcp, text: s.text})
		if len(s.text) < 10_000 {
			s.compare(ctx, t, play{stage: local, text: s.text, drip: true})
		}
		s.compareReuse(ctx, t, tcp)
		for _, cut := range s.cuts(i) {
			if text := s.text[:cut]; !tried[s.method+text] {
				tried[s.method+text] = true
				s.compare(ctx, t, play{stage: local, text: text})
			}
		}
		if ctx.Err() != nil {
			t.Errorf("%q hangs", s.name)
		}
		cancel()
	}
}

// cuts returns where the answer is cut. The answers of a group that have most in common
// share its places; a long one is cut at a few of its own.
func (s script) cuts(index int) []int {
	step, at := max(1, len(s.text)/16), 0
	if group, _, _ := strings.Cut(s.name, ": "); len(s.text) < 400 {
		step = map[string]int{"chunks": 1, "interim": 1, "interim alone": 1, "protocol": 1, "trailer": 1, "field": 2, "byte": 31}[group]
		if step == 0 {
			step = 11
		}
		at = index % step
	}
	var cuts []int
	for ; at < len(s.text); at += step {
		cuts = append(cuts, at)
	}
	return cuts
}

// compare compares what both make of p.
func (s script) compare(ctx context.Context, t *testing.T, p play) {
	ours, theirs := p.ours(ctx, s.method), p.theirs(ctx, s.method)
	if ours.same(theirs) {
		return
	}
	if d := find(stricter, s.name); d != nil && ours.end != "clean" {
		d.met.Store(true)
		return
	}
	if d := find(laxer, s.name); d != nil && theirs.end != "clean" {
		d.met.Store(true)
		return
	}
	t.Errorf("%q\nbyte by byte: %v, %d bytes of %d\nours   %v\ntheirs %v", s.name, p.drip, len(p.text), len(s.text), ours, theirs)
}

// compareReuse compares whether both use the connection again.
func (s script) compareReuse(ctx context.Context, t *testing.T, on *stage) {
	closed := play{stage: on, text: s.text}.theirs(ctx, s.method)
	if closed.end != "clean" || closed.untilClose || closed.status == http.StatusSwitchingProtocols {
		return
	}
	p := play{stage: on, text: s.text, hold: true}
	ours := p.ours(ctx, s.method)
	if ours.next != "next" {
		t.Errorf("%q: the next answer is %q", s.name, ours.next)
	}
	if ours.end != "clean" || s.stray {
		return
	}
	if theirs := p.theirs(ctx, s.method); ours.dials != theirs.dials {
		if d := find(notReused, s.name); d != nil && ours.dials == 2 {
			d.met.Store(true)
			return
		}
		t.Errorf("%q: dials: ours %d, theirs %d", s.name, ours.dials, theirs.dials)
	}
}
