package proxy_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"patrol/proxy"
	"patrol/rotator/pat"
)

// step is what an upstream writes at once, and what of it the client has then.
type step struct{ sent, seen string }

// chunk returns a chunk without the CRLF after its data.
func chunk(s string) string { return fmt.Sprintf("%x\r\n%s", len(s), s) }

// said is an event of a stream of chat completions.
func said(text string) string {
	return `data: {"choices":[{"index":0,"delta":{"content":"` + text + `"}}]}` + "\n\n"
}

// calls is one with a piece of a call that the filter holds back until it is whole.
func calls(function string) string {
	return `data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,` + function + `}]}}]}` + "\n\n"
}

// flushed returns texts in an encoding, a piece each that can be decoded at once.
func flushed(t *testing.T, encoding string, texts ...string) []string {
	t.Helper()
	var wire bytes.Buffer
	var z interface {
		io.WriteCloser
		Flush() error
	} = gzip.NewWriter(&wire)
	if encoding == "zstd" {
		var err error
		if z, err = zstd.NewWriter(&wire); err != nil {
			t.Fatal(err)
		}
	}
	var pieces []string
	for _, text := range texts {
		_, _ = io.WriteString(z, text)
		_ = z.Flush()
		pieces = append(pieces, wire.String())
		wire.Reset()
	}
	_ = z.Close()
	return pieces
}

// TestNothingIsHeldBack: the upstream writes on only once the client has what came
// before, wherever the packets end.
func TestNothingIsHeldBack(t *testing.T) {
	const chunked, untilClose = "Transfer-Encoding: chunked\r\n\r\n", "Connection: close\r\n\r\n"
	one, two, three := said("1"), said("2"), said("3")
	half, other := two[:20], two[20:]
	long := said(strings.Repeat("x", 5000))
	longer := said(strings.Repeat("y", 40<<10))
	zipped, zstd := flushed(t, "gzip", one, two+half, other), flushed(t, "zstd", one, two+half, other)
	for name, tt := range map[string]struct {
		path, head string
		steps      []step
	}{
		"a chunk's end comes later": {"/v1/messages", chunked, []step{
			{chunk(one), one}, {"\r\n" + chunk(two), two}, {"\r\n" + chunk(three) + "\r\n" + chunk(one)[:1], three}, {chunk(one)[1:], one},
		}},
		"half an event": {"/v1/messages", chunked, []step{{chunk(one+half) + "\r\n", one + half}, {chunk(other) + "\r", other}}},
		"longer than the buffers": {"/v1/messages", chunked, []step{
			{chunk(long), long}, {"\r\n" + chunk(longer), longer}, {"\r\n" + chunk(one+long), one + long}, {"\r\n" + chunk(longer+half), longer + half},
		}},
		"until the connection closes": {"/v1/messages", untilClose, []step{{one, one}, {half, half}, {other + longer, other + longer}}},
		"of known length":             {"/v1/messages", "Content-Length: 1000000\r\n\r\n", []step{{one, one}, {half, half}, {other + longer, other + longer}}},

		"filtered": {"/v1/chat/completions", chunked, []step{
			{chunk(one+half) + "\r\n", one}, {chunk(other), two}, {"\r\n" + chunk(three) + "\r\n" + chunk(half), three}, {"\r\n" + chunk(other+one), two + one},
		}},
		"filtered, long": {"/v1/chat/completions", untilClose, []step{{one + long + longer + half, one + long + longer}, {other, two}}},
		"filtered, a call held back": {"/v1/chat/completions", chunked, []step{
			{chunk(one + calls(`"id":"c1","type":"function","function":{"name":"databricks-tool-call","arguments":"{\"name\":"}`)), one},
			{"\r\n" + chunk(calls(`"function":{"arguments":"\"bash\","}`)[:30]), ""},
			{"\r\n" + chunk(calls(`"function":{"arguments":"\"bash\","}`)[30:]), ""},
			{
				"\r\n" + chunk(calls(`"function":{"arguments":"\"cmd\":\"ls\"}"}`)+half),
				calls(`"id":"c1","type":"function","function":{"name":"bash","arguments":"{\"cmd\":\"ls\"}"}`) + strings.Repeat(calls(`"function":{"arguments":""}`), 2),
			},
			{"\r\n" + chunk(other), two},
		}},
		"filtered, gzip": {"/v1/chat/completions", "Content-Encoding: gzip\r\n" + chunked, []step{{chunk(zipped[0]), one}, {"\r\n" + chunk(zipped[1]), two}, {"\r\n" + chunk(zipped[2]), two}}},
		"filtered, zstd": {"/v1/chat/completions", "Content-Encoding: zstd\r\n" + untilClose, []step{{zstd[0], one}, {zstd[1], two}, {zstd[2], two}}},
	} {
		t.Run(name, func(t *testing.T) {
			next := make(chan string)
			url := wire(t, func(conn net.Conn, _ *http.Request) {
				for s := range next {
					_, _ = io.WriteString(conn, s)
				}
			})
			h := open(t, proxy.Config{Host: url})
			h.publish(t, pat.New(canary, url))
			_, in := h.dial(t, post(tt.path, "HTTP/1.1", `{"model":"m","stream":true,"messages":[],"tools":[{"type":"function","function":{"name":"bash"}}]}`))
			defer close(next)
			next <- "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n" + tt.head
			res, err := http.ReadResponse(in, nil) // the head alone, too
			if err != nil {
				t.Fatal(err)
			}
			for i, s := range tt.steps {
				next <- s.sent
				got := make([]byte, len(s.seen))
				if n, err := io.ReadFull(res.Body, got); err != nil || string(got) != s.seen {
					t.Fatalf("step %d: %.200q %v, want %.200q", i, got[:n], err, s.seen)
				}
			}
		})
	}
}

// TestCut: the client gets what came, and then an error, never a clean end. Where
// nothing came it gets no half answer.
func TestCut(t *testing.T) {
	const noChunk = "no chunk\r\n" // which is seen before the head is sent on
	for _, tt := range []struct {
		framing, cut string // the rest of the head, and what stands for the cut
		chunk        func(string) string
	}{
		{"Content-Length: 100000\r\n\r\n", "", func(s string) string { return s }},
		{"Transfer-Encoding: chunked\r\n\r\n", "", func(s string) string { return chunk(s) + "\r\n" }},
		{"Transfer-Encoding: chunked\r\n\r\n", "5\r\n", func(s string) string { return chunk(s) + "\r\n" }},
		{"Transfer-Encoding: chunked\r\n\r\n", noChunk, func(s string) string { return chunk(s) + "\r\n" }},
		{"Transfer-Encoding: chunked\r\n\r\n", "0\r\nX-Trailer: 1\r\n", func(s string) string { return chunk(s) + "\r\n" }},
	} {
		for _, body := range []string{"", said("1"), said("1") + said(strings.Repeat("2", 10_000))} {
			for _, path := range []string{"/v1/messages", "/v1/chat/completions"} {
				for _, media := range []string{"text/event-stream", "application/json"} {
					url := wire(t, func(conn net.Conn, _ *http.Request) {
						sent := body
						if body != "" {
							sent = tt.chunk(body)
						}
						_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Type: "+media+"\r\n"+tt.framing+sent+tt.cut)
					})
					h := open(t, proxy.Config{Host: url})
					h.publish(t, pat.New(canary, url))
					for _, proto := range []string{"HTTP/1.1", "HTTP/1.0"} {
						name := fmt.Sprintf("%s, %s, %s, %d bytes, %q then %q", proto, path, media, len(body), tt.framing, tt.cut)
						_, in := h.dial(t, post(path, proto, question))
						res, err := http.ReadResponse(in, nil)
						if nothing := body == "" && tt.cut == noChunk; err != nil || nothing {
							if body != "" || err != io.ErrUnexpectedEOF { //nolint:errorlint // what a closed connection is
								t.Errorf("%s: %v", name, err)
							}
							continue
						}
						got, err := io.ReadAll(res.Body)
						// HTTP/1.0 has no other end of what has no length.
						clean := proto == "HTTP/1.0" && res.ContentLength < 0
						if res.StatusCode != 200 || string(got) != body || (err == nil) != clean {
							t.Errorf("%s: %d %.100q %v", name, res.StatusCode, got, err)
						}
						if rest, err := io.ReadAll(in); len(rest) > 0 || err != nil {
							t.Errorf("%s: then comes %q %v", name, rest, err)
						}
					}
				}
			}
		}
	}
}

// TestTrailers, announced and not, of answers that come in one packet and in many.
func TestTrailers(t *testing.T) {
	for _, body := range []string{"", "x", strings.Repeat("x", 3000), strings.Repeat("x", 100<<10)} {
		for _, path := range []string{"/v1/messages", "/v1/chat/completions"} {
			for _, announced := range []string{"", "Trailer: X-One\r\n", "Trailer: X-One, X-Two\r\n"} {
				sent := "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n" + announced + "Transfer-Encoding: chunked\r\n\r\n"
				if body != "" {
					sent += chunk(body) + "\r\n"
				}
				url := wire(t, func(conn net.Conn, _ *http.Request) {
					_, _ = io.WriteString(conn, sent+"0\r\nX-One: 1\r\nX-Two: 2\r\nX-Two: 3\r\nContent-Length: 7\r\n\r\n")
				})
				h := open(t, proxy.Config{Host: url})
				h.publish(t, pat.New(canary, url))
				got := h.do(t, "POST", path, question)
				if got.body != body || got.err != nil || len(got.Trailer) != 2 || got.Trailer.Get("X-One") != "1" || fmt.Sprint(got.Trailer["X-Two"]) != "[2 3]" {
					t.Errorf("%s, %d bytes, %q: %d bytes, %v, trailer %v", path, len(body), announced, len(got.body), got.err, got.Trailer)
				}
			}
		}
	}
}

// TestInterimAnswers: hints reach who understands them, with their fields, which aren't
// the answer's; a 100 is the upstream's word to us.
func TestInterimAnswers(t *testing.T) {
	url := wire(t, func(conn net.Conn, _ *http.Request) {
		_, _ = io.WriteString(conn, "HTTP/1.1 100 Continue\r\nX-Hundred: 1\r\n\r\n"+
			"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nLink: </b>\r\n\r\n"+
			"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Last: 1\r\n\r\nok")
	})
	h := open(t, proxy.Config{Host: url})
	h.publish(t, pat.New(canary, url))
	for proto, statuses := range map[string][]int{"HTTP/1.1": {103, 200}, "HTTP/1.0": {200}} {
		_, in := h.dial(t, post("/v1/messages", proto, "{}"))
		for _, want := range statuses {
			res, err := http.ReadResponse(in, nil)
			if err != nil || res.StatusCode != want {
				t.Fatalf("%s: %+v %v, want %d", proto, res, err, want)
			}
			last, hint := res.Header.Get("X-Last") != "", len(res.Header["Link"]) == 2
			if last != (want == 200) || hint != (want == 103) || res.Header["X-Hundred"] != nil {
				t.Errorf("%s, %d: %v", proto, want, res.Header)
			}
			if got, err := io.ReadAll(res.Body); want == 200 && (string(got) != "ok" || err != nil) {
				t.Errorf("%s: %q %v", proto, got, err)
			}
		}
	}
}

// TestNothingInvented: fields that the upstream didn't send aren't there, but for the
// server's own.
func TestNothingInvented(t *testing.T) {
	for _, answer := range []string{
		"200 OK\r\nContent-Length: 6\r\n\r\n<html>", "200 OK\r\nConnection: close\r\n\r\n<html>", "204 No Content\r\n\r\n", "304 Not Modified\r\n\r\n",
		"200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk("<html>") + "\r\n0\r\n\r\n", "404 Not Found\r\nContent-Length: 0\r\n\r\n",
	} {
		url := wire(t, func(conn net.Conn, _ *http.Request) { _, _ = io.WriteString(conn, "HTTP/1.1 "+answer) })
		h := open(t, proxy.Config{Host: url})
		h.publish(t, pat.New(canary, url))
		got := h.do(t, "POST", "/v1/chat/completions", question)
		for name := range got.Header {
			if name != "Date" && name != "Content-Length" {
				t.Errorf("%q: %s: %q", answer, name, got.Header[name])
			}
		}
		if want := strings.HasSuffix(answer, "<html>") || strings.Contains(answer, "chunked"); (got.body == "<html>") != want || got.err != nil {
			t.Errorf("%q: %q %v", answer, got.body, got.err)
		}
	}
}
