package proxy_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"
)

// The upstream of the benchmarks is written by hand, so that it takes as little as
// it can of the time in which the proxies are compared. A request for
// "…?events=N&every=D" gets N events, with D between two of them, and one for
// "…?events=N" gets them as fast as can be; any other one gets a short answer.

const (
	modelReply = `{"id":"chatcmpl-1","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"Hello from a model."},"finish_reason":"stop"}]}`
	modelEvent = `data: {"id":"chatcmpl-1","choices":[{"index":0,"delta":{"content":" some words of a model"},"finish_reason":null}]}` + "\n\n"
)

var (
	fixedReply  = []byte(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nDate: Sat, 28 Nov 2026 12:00:00 GMT\r\nContent-Length: %d\r\n\r\n%s", len(modelReply), modelReply))
	streamHead  = []byte("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nDate: Sat, 28 Nov 2026 12:00:00 GMT\r\nTransfer-Encoding: chunked\r\n\r\n")
	streamEvent = []byte(fmt.Sprintf("%x\r\n%s\r\n", len(modelEvent), modelEvent))
	streamStart = append(bytes.Clone(streamHead), streamEvent...)
	streamEnd   = []byte("0\r\n\r\n")
)

// messageHead is the part of a request's or an answer's head that the benchmarks
// need.
type messageHead struct {
	start  []byte // the first line
	length int    // of the body; -1 if it comes in chunks
}

// read reads the next head. It allocates nothing once start is long enough.
func (h *messageHead) read(in *bufio.Reader) error {
	h.start, h.length = h.start[:0], 0
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return err
		}
		line = bytes.TrimRight(line, "\r\n")
		name, value, isField := bytes.Cut(line, []byte(": "))
		switch {
		case len(h.start) == 0:
			h.start = append(h.start, line...)
		case len(line) == 0:
			return nil
		case isField && bytes.EqualFold(name, []byte("Content-Length")):
			h.length = decimal(value)
		case isField && bytes.EqualFold(name, []byte("Transfer-Encoding")):
			h.length = -1
		}
	}
}

// decimal reads the number that text starts with.
func decimal(text []byte) (n int) {
	for _, digit := range text {
		if digit < '0' || digit > '9' {
			break
		}
		n = 10*n + int(digit-'0')
	}
	return n
}

// serveModel answers on ln until it is closed. With TLS it offers HTTP/2 too: a
// proxy speaks what it likes.
func serveModel(ln net.Listener, config *tls.Config) {
	http2 := handedOn{Listener: ln, conns: make(chan net.Conn)}
	defer close(http2.conns)
	if config != nil {
		config.NextProtos = []string{"h2", "http/1.1"}
		go func() { _ = http.Serve(http2, http.HandlerFunc(serveModelHTTP2)) }()
	}
	for {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		go func() {
			if config != nil {
				secure := tls.Server(conn, config)
				conn = secure
				if secure.Handshake() == nil && secure.ConnectionState().NegotiatedProtocol == "h2" {
					http2.conns <- conn
					return
				}
			}
			serveModelConn(conn)
		}()
	}
}

// handedOn is a listener whose connections somebody else has accepted.
type handedOn struct {
	net.Listener
	conns chan net.Conn
}

func (l handedOn) Accept() (net.Conn, error) {
	if conn, ok := <-l.conns; ok {
		return conn, nil
	}
	return nil, net.ErrClosed
}

// serveModelConn answers the requests of a connection, until the other side
// closes it.
func serveModelConn(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	in := bufio.NewReaderSize(conn, 32<<10)
	var request messageHead
	for ok := true; ok && request.read(in) == nil; {
		if request.length < 0 {
			fmt.Fprintln(os.Stderr, "upstream: a request's body comes in chunks, which this upstream doesn't read")
			return
		}
		if _, err := in.Discard(request.length); err != nil {
			return
		}
		if _, events, isStream := bytes.Cut(request.start, []byte("?events=")); isStream {
			ok = sendEvents(conn, decimal(events), delay(events))
		} else {
			ok = send(conn, fixedReply)
		}
	}
}

// send reports whether the other side is still there.
func send(conn net.Conn, text []byte) (ok bool) {
	_, err := conn.Write(text)
	return err == nil
}

// delay returns the D of "N&every=D HTTP/1.1", 0 if there is none.
func delay(events []byte) time.Duration {
	_, text, _ := bytes.Cut(events, []byte("&every="))
	text, _, _ = bytes.Cut(text, []byte(" "))
	d, _ := time.ParseDuration(string(text))
	return d
}

// sendEvents sends a stream, each event in a write of its own. ok is false when the
// other side has gone.
func sendEvents(conn net.Conn, events int, every time.Duration) (ok bool) {
	next := streamStart
	for range events {
		if !send(conn, next) || every > 0 && !wait(conn, every) {
			return false
		}
		next = streamEvent
	}
	return send(conn, streamEnd)
}

// wait waits for d, or until the other side closes the connection: then ok is
// false.
func wait(conn net.Conn, d time.Duration) (ok bool) {
	_ = conn.SetReadDeadline(time.Now().Add(d))
	_, err := conn.Read(make([]byte, 1))
	_ = conn.SetReadDeadline(time.Time{})
	return errors.Is(err, os.ErrDeadlineExceeded)
}

// serveModelHTTP2 gives the same answers to a proxy that prefers HTTP/2.
func serveModelHTTP2(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	events, _ := strconv.Atoi(r.URL.Query().Get("events"))
	if events == 0 {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, modelReply)
		return
	}
	every, _ := time.ParseDuration(r.URL.Query().Get("every"))
	w.Header().Set("Content-Type", "text/event-stream")
	rc := http.NewResponseController(w)
	for range events {
		_, _ = io.WriteString(w, modelEvent)
		if rc.Flush() != nil {
			return
		}
		if every == 0 {
			continue
		}
		select {
		case <-time.After(every):
		case <-r.Context().Done():
			return
		}
	}
}
