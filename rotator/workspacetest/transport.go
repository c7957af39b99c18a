package workspacetest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"syscall"
)

// Transport returns a way into the workspace without a socket, for tests whose
// time is faked: goroutines that wait on sockets hold it up. Whatever the URL's
// host is, this workspace answers. Each body must be closed.
func (w *Workspace) Transport() http.RoundTripper { return pipes{w} }

type pipes struct{ w *Workspace }

// RoundTrip runs the handler and returns once it has sent its header.
func (p pipes) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(r.Context())
	out, in := io.Pipe()
	pw := &pipeWriter{header: make(http.Header), pipe: in, sent: make(chan struct{}), ended: make(chan struct{})}
	go pw.serve(p.w, arriving(ctx, r))
	stop := context.AfterFunc(ctx, func() { _ = in.CloseWithError(context.Cause(ctx)) })
	leave := func() {
		stop()
		cancel()
		_ = in.CloseWithError(context.Canceled)
		<-pw.ended
	}
	select {
	case <-pw.sent:
	case <-pw.ended:
	case <-ctx.Done():
	}
	if err := r.Context().Err(); err != nil {
		leave()
		return nil, err
	}
	if err := pw.refusal(); err != nil {
		leave()
		return nil, err
	}
	pw.WriteHeader(http.StatusOK) // a handler that ended without a word
	return &http.Response{
		Status: fmt.Sprintf("%d %s", pw.status, http.StatusText(pw.status)), StatusCode: pw.status,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: pw.snapshot, Body: &pipeBody{PipeReader: out, leave: leave}, ContentLength: -1, Request: r,
	}, nil
}

// arriving returns a client's request as a server sees it.
func arriving(ctx context.Context, r *http.Request) *http.Request {
	in := r.Clone(ctx)
	if in.Host == "" {
		in.Host = in.URL.Host
	}
	in.RequestURI, in.RemoteAddr = in.URL.RequestURI(), "127.0.0.1:1"
	in.Proto, in.ProtoMajor, in.ProtoMinor = "HTTP/1.1", 1, 1
	if in.Body == nil {
		in.Body = http.NoBody
	}
	return in
}

// pipeBody ends its handler when it is closed.
type pipeBody struct {
	*io.PipeReader
	leave func()
}

func (b *pipeBody) Close() error {
	b.leave()
	return nil
}

// pipeWriter is the ResponseWriter of a call without a socket.
type pipeWriter struct {
	header http.Header
	pipe   *io.PipeWriter
	sent   chan struct{} // closed with the header
	ended  chan struct{} // closed when the handler has returned

	mu       sync.Mutex
	status   int
	snapshot http.Header
	err      error
}

func (p *pipeWriter) serve(w *Workspace, r *http.Request) {
	defer func() {
		err := p.failure()
		if reason := recover(); reason != nil && err == nil {
			if e, ok := reason.(error); !ok || !errors.Is(e, http.ErrAbortHandler) {
				panic(reason)
			}
			err = p.cut()
		}
		if r.Context().Err() != nil { // the client has left, and knows why
			err = context.Cause(r.Context())
		}
		_ = r.Body.Close()
		close(p.ended)
		if err != nil {
			_ = p.pipe.CloseWithError(err)
			return
		}
		_ = p.pipe.Close()
	}()
	w.ServeHTTP(p, r)
}

func (p *pipeWriter) Header() http.Header { return p.header }

func (p *pipeWriter) WriteHeader(status int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.status == 0 && status >= 200 {
		p.status, p.snapshot = status, p.header.Clone()
		close(p.sent)
	}
}

func (p *pipeWriter) Write(b []byte) (int, error) {
	p.WriteHeader(http.StatusOK)
	return p.pipe.Write(b)
}

func (p *pipeWriter) Flush() { p.WriteHeader(http.StatusOK) }

// hangUp is what a client sees of a connection that ends.
func (p *pipeWriter) hangUp(reset bool) {
	if !reset {
		_ = p.cut()
		panic(http.ErrAbortHandler)
	}
	p.mu.Lock()
	p.err = &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}
	p.mu.Unlock()
	panic(http.ErrAbortHandler)
}

// cut is a connection that ends without a word of why.
func (p *pipeWriter) cut() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.err = io.ErrUnexpectedEOF
	if p.status == 0 {
		p.err = io.EOF
	}
	return p.err
}

func (p *pipeWriter) failure() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

// refusal returns what went wrong before there was an answer.
func (p *pipeWriter) refusal() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.status != 0 {
		return nil
	}
	return p.err
}
