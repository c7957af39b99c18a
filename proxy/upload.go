package proxy

import (
	"errors"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// bodyIdle is how long a client may at least be silent in the middle of a
	// body: one that has gone to sleep there would hold memory and a connection
	// for good.
	bodyIdle = time.Minute

	// bodySlack is how much longer it may take until its deadline has passed:
	// so the deadline needn't be put off with each read. Half of it is for what
	// comes before the body: the header's 10 s, the guard's 5.
	bodySlack = 30 * time.Second
)

// upload is a request's body on its way in. The server has given it a
// deadline, its ReadTimeout; an upload puts that off as long as something
// comes. The server takes it off again once it has seen the body's end, so
// that nothing cuts the answer.
type upload struct {
	io.ReadCloser
	client  http.ResponseWriter
	log     *slog.Logger
	reading atomic.Bool // or the last Read has failed, before the body's end

	mu    sync.Mutex
	since time.Time // the deadline is leastIdle after it, or later
	left  bool      // the connection's deadlines are no longer the upload's
}

const leastIdle = bodyIdle + bodySlack/2

// begin makes u the body of r, which w answers.
func (u *upload) begin(w http.ResponseWriter, r *http.Request, log *slog.Logger) {
	u.ReadCloser, u.client, u.since, u.log = r.Body, w, time.Now(), log
}

func (u *upload) Read(b []byte) (n int, err error) {
	defer contain(u.log, &err)
	u.putOff(time.Now())
	u.reading.Store(true)
	n, err = u.ReadCloser.Read(b)
	switch {
	case err == nil:
		u.reading.Store(false)
	case errors.Is(err, io.EOF):
		u.reading.Store(false)
		u.leave()
	}
	return n, err
}

// putOff puts the deadline off if less than bodyIdle may be left.
func (u *upload) putOff(now time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.left || now.Sub(u.since) <= leastIdle-bodyIdle {
		return
	}
	u.since = now
	// Who calls the proxy without a connection has no deadline to put off.
	_ = http.NewResponseController(u.client).SetReadDeadline(now.Add(bodyIdle + bodySlack))
}

// stalled reports whether the deadline has ended the body. It needn't wait for
// the Read that tells: that ends the request's context before it returns.
func (u *upload) stalled() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.reading.Load() && time.Since(u.since) >= leastIdle
}

// leave leaves the connection to the server. http.Transport may still read from
// u, after its end and even after Close: that must set no deadline, neither for
// an answer that takes its time nor for the connection's next request.
func (u *upload) leave() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.left = true
}

func (u *upload) Close() error {
	u.leave()
	return u.ReadCloser.Close()
}
