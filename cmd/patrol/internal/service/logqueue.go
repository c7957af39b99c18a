package service

import (
	"bytes"
	"io"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"patrol/cmd/patrol/internal/cli"
)

const (
	// logQueueLines is how much of a service's log waits for its reader.
	logQueueLines = 1000

	// logQueueGrace is how long the end of the process waits for the reader.
	logQueueGrace = time.Second
)

// A LogQueue is the stderr of a service. Write never blocks, whatever becomes of
// the reader: lines that there is no room for, and lines that can't be written,
// are dropped and counted, and the count is logged once a line can be written
// again.
type LogQueue struct {
	to      io.Writer
	lines   chan []byte   // oldest first; nil is the end
	done    chan struct{} // closed once write has returned
	dropped atomic.Int64  // lines, since it was last logged
}

// NewLogQueue returns a queue that a goroutine writes to w until it is closed.
func NewLogQueue(w io.Writer) *LogQueue {
	q := &LogQueue{to: w, lines: make(chan []byte, logQueueLines), done: make(chan struct{})}
	go q.write()
	return q
}

// surviveReader has this process live on when nobody reads its stderr any more:
// writing there then fails with EPIPE.
func surviveReader() { signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) }

// Write takes a line. It never fails.
func (q *LogQueue) Write(line []byte) (int, error) {
	select {
	case q.lines <- bytes.Clone(line):
	default:
		q.dropped.Add(1)
	}
	return len(line), nil
}

// write writes the lines until the end. It blocks for as long as the reader makes
// it.
func (q *LogQueue) write() {
	defer close(q.done)
	for line := range q.lines {
		if line == nil {
			return
		}
		if _, err := q.to.Write(line); err != nil { // EPIPE, EIO, a full disk
			q.dropped.Add(1)
		} else if n := q.dropped.Swap(0); n > 0 {
			log := cli.LogOptions{Format: cli.FormatText}
			if bytes.HasPrefix(line, []byte("{")) {
				log.Format = cli.FormatJSON
			}
			log.New(q.to).Warn("lines of the log are missing: nobody read it, or it could not be written", "lines", n)
		}
	}
}

// Close waits until what was logged is written, for logQueueGrace at most. A
// write that blocks for longer ends with the process.
func (q *LogQueue) Close() {
	late := time.After(logQueueGrace)
	select {
	case q.lines <- nil:
	case <-late:
		return
	}
	select {
	case <-q.done:
	case <-late:
	}
}
