package service

import (
	"bytes"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"patrol/cmd/patrol/internal/cli"
)

const (
	// logQueueBytes is how much of a service's log waits for its reader.
	logQueueBytes = 256 << 10

	// logQueueGrace is how long the end of the process waits for the reader.
	logQueueGrace = time.Second
)

// A LogQueue is the stderr of a service. Write never blocks, whatever becomes of
// the reader: lines that there is no room for, and lines that can't be written,
// are dropped and counted, and the count is logged once a line can be written
// again.
type LogQueue struct {
	to   io.Writer
	done chan struct{} // closed once write has returned

	mu      sync.Mutex
	changed *sync.Cond   // lines or closed, with mu
	lines   [][]byte     // oldest first
	size    int          // of lines, in bytes
	dropped int          // lines, since it was last logged
	lost    *slog.Logger // logs that, past the queue
	closed  bool
}

// NewLogQueue returns a queue that a goroutine writes to w until it is closed.
func NewLogQueue(w io.Writer) *LogQueue {
	q := &LogQueue{to: w, done: make(chan struct{})}
	q.changed = sync.NewCond(&q.mu)
	q.setFormat(cli.LogOptions{})
	go q.write()
	return q
}

// surviveReader has this process live on when nobody reads its stderr any more:
// writing there then fails with EPIPE.
func surviveReader() { signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) }

// setFormat sets the form of the line that tells of dropped lines.
func (q *LogQueue) setFormat(log cli.LogOptions) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.lost = cli.LogOptions{Level: slog.LevelWarn, Format: log.Format}.New(q.to)
}

// Write takes a line. It never fails.
func (q *LogQueue) Write(line []byte) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed || q.size+len(line) > logQueueBytes {
		q.dropped++
		return len(line), nil
	}
	q.lines = append(q.lines, bytes.Clone(line))
	q.size += len(line)
	q.changed.Signal()
	return len(line), nil
}

// write writes the lines until the queue is closed and empty. It blocks for as
// long as the reader makes it.
func (q *LogQueue) write() {
	defer close(q.done)
	for line, ok := q.next(); ok; line, ok = q.next() {
		if _, err := q.to.Write(line); err != nil { // EPIPE, EIO, a full disk
			q.mu.Lock()
			q.dropped++
			q.mu.Unlock()
			continue
		}
		q.mu.Lock()
		dropped, lost := q.dropped, q.lost
		q.dropped = 0
		q.mu.Unlock()
		if dropped > 0 {
			lost.Warn("lines of the log are missing: nobody read it, or it could not be written", "lines", dropped)
		}
	}
}

// next waits for the oldest line and takes it. It reports false if the queue is
// closed and empty.
func (q *LogQueue) next() (line []byte, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.lines) == 0 && !q.closed {
		q.lines = nil // its array would never be freed
		q.changed.Wait()
	}
	if len(q.lines) == 0 {
		return nil, false
	}
	line, q.lines = q.lines[0], q.lines[1:]
	q.size -= len(line)
	return line, true
}

// Close waits until what was logged is written, for logQueueGrace at most. A
// write that blocks for longer ends with the process.
func (q *LogQueue) Close() {
	q.mu.Lock()
	q.closed = true
	q.changed.Signal()
	q.mu.Unlock()
	select {
	case <-q.done:
	case <-time.After(logQueueGrace):
	}
}
