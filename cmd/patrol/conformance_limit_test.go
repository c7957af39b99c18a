//go:build unix

package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

func limitRows() []row {
	return []row{
		{name: "a header of more than 64 KiB is refused", run: showHeaderLimit},
		{name: "connections beyond the limit wait for the end of others", run: showConnectionLimit},
	}
}

func showHeaderLimit(t *testing.T, f *fixture) {
	if got := f.ask(t, http.MethodPost, "/v1/messages", question, "X-Long", strings.Repeat("x", 32<<10)); got.StatusCode != http.StatusOK {
		t.Errorf("32 KiB: %d %s", got.StatusCode, got.body)
	}
	for _, request := range []string{
		"POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nROW\r\nX-Long: " + strings.Repeat("x", 80<<10) + "\r\n\r\n",
		"POST /v1/messages?" + strings.Repeat("x", 80<<10) + " HTTP/1.1\r\nHost: localhost\r\nROW\r\n\r\n",
		"POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nROW\r\n" + strings.Repeat("X-Many: 1\r\n", 8<<10) + "\r\n",
	} {
		if got := f.raw(t, request); got.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
			t.Errorf("%.60q: %d %s", request, got.StatusCode, got.body)
		}
	}
	f.arrived(t, 1)
}

// One connection more than are let in waits, is counted, and has its turn when
// another ends.
func showConnectionLimit(t *testing.T, f *fixture) {
	const limit = 32
	own := f.with(t, settings{conns: limit})
	ask := func(conn net.Conn) {
		_, _ = fmt.Fprintf(conn, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
	}
	answered := func(conn net.Conn) {
		t.Helper()
		if resp, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("%v, %v", resp, err)
		}
	}
	full := func() uint64 { return own.refused(t)["full"] }
	own.client.CloseIdleConnections()
	// Connections of the start may still be open.
	var open []net.Conn
	for len(open) < limit-4 || full() == 0 {
		conn := own.dial(t)
		ask(conn)
		open = append(open, conn)
		if len(open) > limit {
			await(t, func() bool { return full() > 0 })
		}
	}
	last := open[len(open)-1]
	_ = last.SetReadDeadline(time.Now())
	if _, err := last.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%d connections: the last one isn't made to wait: %v", len(open), err)
	}
	for _, conn := range open[:len(open)-1] {
		answered(conn)
	}
	if n := len(open) - 1; n > limit || n < limit-4 {
		t.Errorf("%d connections were let in, want %d", n, limit)
	}
	own.awaitLog(t, "reason=full")
	_ = open[0].Close()
	_ = last.SetReadDeadline(time.Now().Add(patience))
	answered(last)
	for _, conn := range open {
		_ = conn.Close()
	}
}

// beginSlowHeaders opens connections that begin a request and never end it.
func beginSlowHeaders(t *testing.T, f *fixture) func(t *testing.T) {
	type end struct {
		sent string
		took time.Duration
		got  string
		err  error
	}
	halves := []string{"", "POST /v1/mess", "POST /v1/messages HTTP/1.1\r\nHost: localhost\r\n", "GET / HTTP/1.1\r\nHost: localhost\r\n\r\nGET / HT"}
	ends := make(chan end, len(halves))
	for _, half := range halves {
		conn := f.dial(t)
		began := time.Now()
		_ = conn.SetDeadline(began.Add(2 * patience))
		go func() {
			_, _ = io.WriteString(conn, half)
			got, err := io.ReadAll(conn)
			ends <- end{half, time.Since(began), string(got), err}
		}()
	}
	return func(t *testing.T) {
		const least, most = 5 * time.Second, 20 * time.Second
		for range halves {
			e := eventuallyWithin(t, 2*patience, "the end of a connection", ends)
			if e.err != nil || e.took < least || e.took > most {
				t.Errorf("%q: open for %v, then %q, %v", e.sent, e.took, e.got, e.err)
			}
			t.Logf("%q: closed after %v", e.sent, e.took.Round(time.Millisecond))
		}
	}
}
