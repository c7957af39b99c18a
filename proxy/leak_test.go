package proxy_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"patrol/proxy"
	"patrol/rotator/pat"
)

// streamer is an upstream whose streams send an event, and another each time
// that they are told to, until their client leaves.
type streamer struct {
	open   atomic.Int64
	mu     sync.Mutex
	signal chan struct{}
}

func (s *streamer) next() chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.signal
}

// tell has all streams send one more.
func (s *streamer) tell() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.signal)
	s.signal = make(chan struct{})
}

func (s *streamer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	s.open.Add(1)
	defer s.open.Add(-1)
	w.Header().Set("Content-Type", "text/event-stream")
	for n := 0; ; n++ {
		next := s.next() // before the client can know of the event
		if _, err := fmt.Fprintf(w, "data: {\"n\":%d}\n\n", n); err != nil || http.NewResponseController(w).Flush() != nil {
			return
		}
		select {
		case <-next:
		case <-r.Context().Done():
			return
		}
	}
}

// stream is a client's end of one, without what an http.Client would add to
// what is counted.
type stream struct {
	conn net.Conn
	in   *bufio.Reader
}

func (f *fixture) stream(path string) (*stream, error) {
	conn, err := net.Dial("tcp", f.addr)
	if err != nil {
		return nil, err
	}
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	const body = `{"model":"m","stream":true,"messages":[{"role":"user","content":"x"}]}`
	_, err = fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", path, len(body), body)
	s := &stream{conn, bufio.NewReaderSize(conn, 1<<10)}
	if err == nil {
		err = s.event(0)
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return s, nil
}

// event reads until the n-th event has come.
func (s *stream) event(n int) error {
	for {
		line, err := s.in.ReadString('\n')
		if err != nil {
			return fmt.Errorf("waiting for event %d: %w", n, err)
		}
		if strings.HasPrefix(line, fmt.Sprintf(`data: {"n":%d}`, n)) {
			return nil
		}
	}
}

// streams opens n of them, some at a time, and hands each to do.
func (f *fixture) streams(t *testing.T, n int, do func(*stream)) {
	t.Helper()
	slots := make(chan struct{}, 64)
	var opening sync.WaitGroup
	for i := range n {
		slots <- struct{}{}
		opening.Go(func() {
			defer func() { <-slots }()
			s, err := f.stream([...]string{"/v1/chat/completions", "/v1/messages", "/responses"}[i%3])
			if err != nil {
				t.Error(err)
				return
			}
			do(s)
		})
	}
	opening.Wait()
}

// TestManyStreamsOutliveTheirToken: 1,000 slow streams go on when their token is
// replaced, and hold nobody up.
func TestManyStreamsOutliveTheirToken(t *testing.T) {
	n := many(1000)
	up := &streamer{signal: make(chan struct{})}
	srv := upstream(t, up.ServeHTTP)
	h := open(t, proxy.Config{Host: srv.URL})
	h.publish(t, pat.New(canary, srv.URL))
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	all := make(chan *stream, n)
	h.streams(t, n, func(s *stream) { all <- s })
	close(all)
	runtime.GC()
	runtime.ReadMemStats(&after)
	t.Logf("%d KiB per stream of heap and stacks, client and upstream included",
		(after.HeapInuse+after.StackInuse-before.HeapInuse-before.StackInuse)/uint64(n)/1024)
	<-h.publish(t, pat.New("another", srv.URL))
	<-h.publish(t, pat.New("a third", srv.URL))
	if got := up.open.Load(); got != int64(n) {
		t.Errorf("%d streams are open", got)
	}
	up.tell()
	for s := range all {
		if err := s.event(1); err != nil {
			t.Error(err)
		}
		_ = s.conn.Close()
	}
}

// TestManyDroppedStreams: 5,000 streams are opened, and their clients
// leave.
func TestManyDroppedStreams(t *testing.T) {
	n := many(5000)
	up := &streamer{signal: make(chan struct{})}
	srv := upstream(t, up.ServeHTTP)
	h := open(t, proxy.Config{Host: srv.URL})
	h.publish(t, pat.New(canary, srv.URL))
	drop := func(s *stream) { _ = s.conn.Close() }
	h.streams(t, 100, drop) // whatever stays for good is there then
	up.settle(t, 1<<30, 1<<30)
	goroutines, files := 1<<30, 1<<30
	for range 20 { // the last to go take a moment
		time.Sleep(10 * time.Millisecond)
		goroutines, files = min(goroutines, runtime.NumGoroutine()), min(files, openFiles())
	}
	h.streams(t, n, drop)
	up.settle(t, goroutines, files)
	<-h.publish(t, pat.New("another", srv.URL)) // nothing is still counted
	h.givesBack(t)
}

// givesBack waits until no body holds any memory.
func (f *fixture) givesBack(t *testing.T) {
	t.Helper()
	deadline := time.Now().Add(soon)
	for f.MemoryHeld() != 0 {
		if time.Now().After(deadline) {
			t.Fatalf("bodies hold %d bytes", f.MemoryHeld())
		}
		time.Sleep(time.Millisecond)
	}
}

// settle waits until no stream is open and the counts are down to these.
func (s *streamer) settle(t *testing.T, goroutines, files int) {
	t.Helper()
	deadline := time.Now().Add(soon)
	for {
		streams, g, f := s.open.Load(), runtime.NumGoroutine(), openFiles()
		if streams == 0 && g <= goroutines && f <= files {
			return
		}
		if time.Now().After(deadline) {
			buf := make([]byte, 1<<16)
			t.Fatalf("%d streams, %d goroutines (of %d), %d files (of %d) are left\n%s",
				streams, g, goroutines, f, files, buf[:runtime.Stack(buf, true)])
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// openFiles counts descriptors, connections among them. 0 where that can't be
// seen.
func openFiles() int {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(entries)
}
