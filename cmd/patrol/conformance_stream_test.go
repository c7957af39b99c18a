//go:build unix

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// shutdownGrace is how long a service lets requests finish: see README.
const shutdownGrace = 10 * time.Second

func streamRows() []row {
	return []row{
		{name: "each write of the upstream reaches the client at once", run: showEachWrite},
		{name: "the client gone, the upstream's request is cancelled", run: showClientGone},
		{name: "the upstream cut, the client sees an error and no clean end", run: showUpstreamCut},
	}
}

// streams are the routes and headers of answers that come in pieces.
var streams = []struct {
	path   string
	header []string // names and values by turns
	whole  bool     // the filter holds it back until it is whole
}{
	{path: "/v1/chat/completions", header: []string{"Content-Type", "text/event-stream"}}, // filtered
	{path: "/v1/messages", header: []string{"Content-Type", "text/event-stream"}},
	{path: "/responses", header: []string{"Content-Type", "text/event-stream", "Content-Encoding", "zstd"}},
	{path: "/v1beta/models/m:streamGenerateContent", header: []string{"Content-Type", "application/json"}},
	{path: asItIs, header: []string{"Content-Length", "1000000"}},
	{path: "/v1/messages", header: []string{"Content-Type", "application/json", "Content-Length", "1000000"}},
	{path: "/v1/chat/completions", header: []string{"Content-Type", "application/json"}, whole: true},
}

// streamHeader tells the upstream which of them is asked for.
const streamHeader = "X-Stream"

// pieces is what the streams hold, a write each. Text in it may look like HTTP
// and like a page.
func pieces() []string {
	var all []string
	for i := range 8 {
		event := fmt.Sprintf("data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"%d <html>HTTP/1.1 é\"}}]}\n\n", i)
		all = append(all, event)
	}
	return append(all, ": a comment\n\n")
}

// begin starts an answer of a stream.
func begin(w http.ResponseWriter, req *http.Request) {
	_, _ = io.Copy(io.Discard, req.Body)
	if n, err := strconv.Atoi(req.Header.Get(streamHeader)); err == nil {
		header := streams[n].header
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
	}
	_ = http.NewResponseController(w).Flush()
}

// The upstream writes its next piece only once the client has the last one: a
// piece that is held back ends in the client's timeout.
func showEachWrite(t *testing.T, f *fixture) {
	for n, s := range streams {
		if s.whole {
			continue
		}
		f.forget(t)
		next := make(chan struct{})
		f.handle(t, func(w http.ResponseWriter, req *http.Request) {
			begin(w, req)
			for _, piece := range pieces() {
				hold(req, next)
				_, _ = io.WriteString(w, piece)
				_ = http.NewResponseController(w).Flush()
			}
			if w.Header().Get("Content-Length") != "" {
				panic(http.ErrAbortHandler) // it was never to be complete
			}
		})
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		resp, err := f.client.Do(f.request(t, http.MethodPost, s.path, strings.NewReader(question), streamHeader, strconv.Itoa(n)).WithContext(ctx))
		if err != nil {
			t.Fatalf("%s: %v", s.path, err)
		}
		for i, piece := range pieces() {
			select {
			case next <- struct{}{}:
			case <-ctx.Done():
			}
			got := make([]byte, len(piece))
			if _, err := io.ReadFull(resp.Body, got); err != nil || string(got) != piece {
				t.Errorf("%s, piece %d: %q, %v", s.path, i, got, err)
				break
			}
		}
		if _, err := io.ReadAll(resp.Body); (err == nil) != (resp.ContentLength < 0) {
			t.Errorf("%s: ends with %v", s.path, err)
		}
		_ = resp.Body.Close()
		cancel()
		f.arrived(t, 1)
	}
}

// The target is 100 ms; the bound is what a busy machine may take, far below
// what an upstream that nobody cancels would.
func showClientGone(t *testing.T, f *fixture) {
	const bound = 3 * time.Second
	for n, s := range streams {
		for _, early := range []bool{true, false} {
			began, gone := make(chan struct{}, 1), make(chan time.Time, 1)
			f.handle(t, func(w http.ResponseWriter, req *http.Request) {
				_, _ = io.Copy(io.Discard, req.Body)
				if !early {
					begin(w, req)
				}
				began <- struct{}{}
				<-req.Context().Done()
				gone <- time.Now()
			})
			ctx, leave := context.WithCancel(t.Context())
			left := make(chan struct{})
			go func() {
				defer close(left)
				resp, err := f.client.Do(f.request(t, http.MethodPost, s.path, strings.NewReader(question), streamHeader, strconv.Itoa(n)).WithContext(ctx))
				if err == nil {
					_, err = io.ReadAll(resp.Body)
					_ = resp.Body.Close()
				}
				if !errors.Is(err, context.Canceled) {
					t.Errorf("the client sees %v", err)
				}
			}()
			eventuallyWithin(t, patience, "the request upstream", began)
			at := time.Now()
			leave()
			took := eventuallyWithin(t, bound, "the end upstream", gone).Sub(at)
			<-left
			t.Logf("%s, before its header %v: cancelled within %v", s.path, early, took.Round(time.Microsecond))
		}
	}
	f.arrived(t, 2*len(streams))
}

// The bytes themselves are looked at: what stands behind the cut might look like
// an end, or like the beginning of another answer.
func showUpstreamCut(t *testing.T, f *fixture) {
	all := strings.Join(pieces(), "")
	cut := func(n int, ending ending) {
		path := streams[n].path
		f.handle(t, func(w http.ResponseWriter, req *http.Request) {
			begin(w, req)
			for _, piece := range pieces() {
				_, _ = io.WriteString(w, piece)
				_ = http.NewResponseController(w).Flush()
			}
			_, _ = io.WriteString(w, "data: {\"choices\":[{\"ind")
			_ = http.NewResponseController(w).Flush()
			ending.end(w)
		})
		got := f.ask(t, http.MethodPost, path, question, streamHeader, strconv.Itoa(n))
		if got.StatusCode != http.StatusOK || got.err == nil || !strings.HasPrefix(got.body, all) && !strings.HasPrefix(all, got.body) {
			t.Errorf("stream %d, %v: %d, %v after %q", n, ending, got.StatusCode, got.err, got.body)
		}
		conn := f.dial(t)
		_, _ = fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: localhost\r\n%s: %s\r\n%s: %d\r\nContent-Length: %d\r\n\r\n%s",
			path, rowHeader, t.Name(), streamHeader, n, len(question), question)
		wire, err := io.ReadAll(conn)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("stream %d, %v: the connection stays open", n, ending)
		}
		_, body, _ := bytes.Cut(wire, []byte("\r\n\r\n"))
		for _, bad := range []string{"\r\n0\r\n", "HTTP/1.1 5", "HTTP/1.1 4", "<html>\n", "502", "patrol"} {
			if bytes.Contains(body, []byte(bad)) {
				t.Errorf("stream %d, %v: %q stands in the stream: %q", n, ending, bad, body)
			}
		}
	}
	for n := range streams {
		for _, ending := range endings {
			cut(n, ending)
		}
	}
	f.arrived(t, 2*len(streams)*len(endings))
}

// beginSilence starts a stream that says nothing until it is its row's turn, and
// for 11 s at least.
func beginSilence(t *testing.T, f *fixture) func(t *testing.T) {
	const first, last = "data: first\n\n", "data: last\n\n"
	goOn := make(chan struct{})
	f.handle(t, func(w http.ResponseWriter, req *http.Request) {
		begin(w, req)
		_, _ = io.WriteString(w, first)
		_ = http.NewResponseController(w).Flush()
		hold(req, goOn)
		_, _ = io.WriteString(w, last)
	})
	answered := make(chan outcome, 1)
	go func() { answered <- f.ask(t, http.MethodPost, "/v1/messages", question) }()
	enough := time.After(11 * time.Second)
	return func(t *testing.T) {
		select {
		case got := <-answered:
			t.Errorf("the stream ends while its upstream is silent: %q, %v", got.body, got.err)
			return
		case <-enough:
		}
		close(goOn)
		if got := eventuallyWithin(t, patience, "the stream's end", answered); got.body != first+last || got.err != nil {
			t.Errorf("%q, %v", got.body, got.err)
		}
	}
}

// beginShutdown stops a service that has two streams under way: one ends soon
// after, the other never.
func beginShutdown(t *testing.T, f *fixture) func(t *testing.T) {
	own := f.with(t, settings{})
	began, finish := make(chan struct{}, 2), make(chan struct{})
	own.handle(t, func(w http.ResponseWriter, req *http.Request) {
		_, _ = io.Copy(io.Discard, req.Body)
		_, _ = io.WriteString(w, "data: first\n\n")
		_ = http.NewResponseController(w).Flush()
		began <- struct{}{}
		if req.Header.Get("X-Endless") != "" {
			<-req.Context().Done()
			return
		}
		hold(req, finish)
		_, _ = io.WriteString(w, "data: last\n\n")
	})
	finite, endless, cut := make(chan outcome, 1), make(chan outcome, 1), make(chan time.Time, 1)
	go func() { finite <- own.ask(t, http.MethodPost, "/v1/messages", question) }()
	go func() {
		endless <- own.ask(t, http.MethodPost, "/v1/messages", question, "X-Endless", "1")
		cut <- time.Now()
	}()
	for range cap(began) {
		eventuallyWithin(t, patience, "both streams upstream", began)
	}
	stopped := time.Now()
	if err := own.binary.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	own.awaitLog(t, "stopping")
	close(finish)
	return func(t *testing.T) {
		if got := eventuallyWithin(t, patience, "the end of a stream that ends", finite); got.err != nil || got.body != "data: first\n\ndata: last\n\n" {
			t.Errorf("the stream that ends: %q, %v", got.body, got.err)
		}
		at := eventuallyWithin(t, shutdownGrace+patience, "the end of a stream without one", cut)
		if took := at.Sub(stopped); took < shutdownGrace || took > shutdownGrace+5*time.Second {
			t.Errorf("the stream without an end was cut after %v", took)
		}
		if got := <-endless; got.err == nil || got.body != "data: first\n\n" {
			t.Errorf("the stream without an end: %q, %v", got.body, got.err)
		}
		err := own.binary.cmd.Wait()
		own.binary.cmd = nil
		if err != nil {
			t.Errorf("patrol ended with %v", err)
		}
	}
}
