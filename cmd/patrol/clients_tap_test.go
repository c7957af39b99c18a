//go:build clients && linux

package main

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// A tap stands on the wire between a client and the proxy. It passes every byte
// on as it came, and reads along.
type tap struct {
	url      string
	upstream string
	conns    sync.WaitGroup

	mu   sync.Mutex
	seen []tapped
	open map[net.Conn]struct{}
}

// tapped is a request as the client sent it, and the status that it got.
type tapped struct {
	method, path string
	credentials  []string // as they stand in the headers, without "Bearer "
	header       http.Header
	status       int    // 0 while there is no answer
	answer       string // its Content-Type and Content-Encoding
}

// newTap listens on addr until the test ends.
func newTap(t *testing.T, addr, upstream string) *tap {
	t.Helper()
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	p := &tap{url: "http://" + ln.Addr().String(), upstream: strings.TrimPrefix(upstream, "http://"), open: make(map[net.Conn]struct{})}
	p.conns.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			p.conns.Go(func() { p.pass(t, conn) })
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		p.mu.Lock()
		for conn := range p.open {
			_ = conn.Close()
		}
		p.mu.Unlock()
		p.conns.Wait()
	})
	return p
}

// pass passes one connection on until both sides have ended it.
func (p *tap) pass(t *testing.T, agent net.Conn) {
	defer agent.Close()
	proxy, err := net.DialTimeout("tcp", p.upstream, time.Minute)
	if err != nil {
		t.Errorf("the tap: %v", err)
		return
	}
	defer proxy.Close()
	p.mu.Lock()
	p.open[agent], p.open[proxy] = struct{}{}, struct{}{}
	p.mu.Unlock()
	type question struct {
		req   *http.Request
		index int
	}
	asked := make(chan question, 100)
	var work sync.WaitGroup
	copyAlong := func(dst, src net.Conn, read func(*bufio.Reader)) {
		r, w := io.Pipe()
		work.Go(func() {
			read(bufio.NewReader(r))
			_, _ = io.Copy(io.Discard, r) // what can't be read is passed on all the same
		})
		work.Go(func() {
			_, _ = io.Copy(io.MultiWriter(dst, w), src)
			_ = w.Close()
			_ = dst.(*net.TCPConn).CloseWrite()
		})
	}
	copyAlong(proxy, agent, func(in *bufio.Reader) {
		defer close(asked)
		for {
			req, err := http.ReadRequest(in)
			if err != nil {
				return
			}
			asked <- question{req, p.note(req)}
			if _, err = io.Copy(io.Discard, req.Body); err != nil {
				return
			}
		}
	})
	copyAlong(agent, proxy, func(in *bufio.Reader) {
		for q := range asked {
			resp, err := http.ReadResponse(in, q.req)
			if err != nil {
				return
			}
			p.answered(q.index, resp)
			if _, err = io.Copy(io.Discard, resp.Body); err != nil {
				return
			}
		}
	})
	work.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.open, agent)
	delete(p.open, proxy)
}

func (p *tap) note(req *http.Request) int {
	seen := tapped{method: req.Method, path: req.URL.RequestURI(), header: req.Header}
	for _, name := range []string{"Authorization", "X-Api-Key", "X-Goog-Api-Key"} {
		for _, value := range req.Header.Values(name) {
			seen.credentials = append(seen.credentials, strings.TrimPrefix(value, "Bearer "))
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen = append(p.seen, seen)
	return len(p.seen) - 1
}

func (p *tap) answered(i int, resp *http.Response) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen[i].status = resp.StatusCode
	p.seen[i].answer = strings.TrimSpace(resp.Header.Get("Content-Type") + " " + resp.Header.Get("Content-Encoding"))
}

// requests returns what the client has sent so far.
func (p *tap) requests() []tapped {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]tapped(nil), p.seen...)
}
