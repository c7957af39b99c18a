package workspacetest

import (
	"bytes"
	"context"
	"maps"
	"net"
	"net/http"
	"path"
	"strings"
	"time"
)

// Effect is what a Fault does to a call.
type Effect int

// The effects. With Fault.After the call first does what it was asked to do,
// and it is its answer that is lost, or late.
const (
	Slow   Effect = iota // nothing but the Delay
	Answer               // answers with Status, Header and Body
	Empty                // answers 200 {}
	Hang                 // gives no answer until the client leaves
	Reset                // resets the connection
	Close                // closes the connection without an answer
	Break                // does it, and cuts its JSON answer after the token's value, or in the middle
)

// Always is for Fault.Times.
const Always = -1

// Fault is something that goes wrong.
type Fault struct {
	Method string                   // "" is any
	Path   string                   // the resolved path, as path.Match knows it; a last "**" is any rest; "" is any
	Match  func(*http.Request) bool // nil is any; it must not call the workspace
	Skip   int                      // so many calls that match are left alone first
	Times  int                      // then so many are struck; 0 is one, Always is all

	Effect Effect
	After  bool          // see Effect
	Events int           // a stream is struck (by Hang, Reset or Close) only once it has sent so many events
	Delay  time.Duration // before the effect, and before the call does anything, unless After; it ends if the client leaves
	Status int           // for Answer; 0 is 200
	Header http.Header   // for Answer
	Body   string        // for Answer
}

// armed is a fault and how often it has matched.
type armed struct {
	Fault
	seen int
}

// Inject adds a fault. Of several that match a call, the one injected first
// strikes.
func (w *Workspace) Inject(f Fault) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.faults = append(w.faults, &armed{Fault: f})
}

// Heal removes all injected faults. Calls that hang go on hanging.
func (w *Workspace) Heal() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.faults = nil
}

// nextFault returns the fault that strikes this request, nil if none does.
func (w *Workspace) nextFault(r *http.Request) *Fault {
	if f := w.injected(r); f != nil {
		return f
	}
	if w.cfg.Fault == nil {
		return nil
	}
	return w.cfg.Fault(r)
}

func (w *Workspace) injected(r *http.Request) *Fault {
	p := resolve(r.URL.Path)
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, a := range w.faults {
		if !a.matches(r, p) {
			continue
		}
		a.seen++
		if a.seen > a.Skip && (a.Times == Always || a.seen <= a.Skip+max(a.Times, 1)) {
			return &a.Fault
		}
	}
	return nil
}

func (f *Fault) matches(r *http.Request, p string) bool {
	if f.Method != "" && f.Method != r.Method || f.Match != nil && !f.Match(r) {
		return false
	}
	pattern := strings.ToLower(f.Path) // as resolve does
	if start, ok := strings.CutSuffix(pattern, "**"); ok {
		return strings.HasPrefix(p, start)
	}
	ok, err := path.Match(pattern, p)
	return f.Path == "" || err == nil && ok
}

// fail answers the call as the fault would have it.
func (w *Workspace) fail(c *call, r *http.Request, f *Fault) {
	c.struck()
	var kept *lostAnswer
	if f.After || f.Effect == Break {
		kept = w.answerNobody(c, r)
	}
	if !sleep(r.Context(), f.Delay) {
		panic(http.ErrAbortHandler) // the client has left
	}
	switch {
	case kept == nil && (f.Effect == Slow || f.Events > 0):
		if f.Events > 0 {
			c.limit, c.strike = f.Events, func() { strike(c.ResponseWriter, r, f) }
		}
		w.answer(c, r)
	case f.Effect == Slow:
		kept.send(c, kept.body.Bytes())
	case f.Effect == Break:
		kept.send(c, broken(kept.body.Bytes()))
	case f.Effect == Answer:
		maps.Copy(c.Header(), f.Header)
		c.WriteHeader(max(f.Status, http.StatusOK))
		_, _ = c.Write([]byte(f.Body))
	case f.Effect == Empty:
		writeBody(c, http.StatusOK, "application/json", "{}")
	default:
		if kept == nil && f.Effect == Hang {
			_ = c.readBody(r) // so that net/http notices the client leaving
		}
		strike(c.ResponseWriter, r, f)
	}
}

// answerNobody does what the call asks for, and keeps the answer.
func (w *Workspace) answerNobody(c *call, r *http.Request) *lostAnswer {
	kept := &lostAnswer{header: make(http.Header)}
	client := c.ResponseWriter
	c.ResponseWriter, c.lost = kept, true
	w.answer(c, r)
	c.ResponseWriter, c.lost = client, false
	return kept
}

// broken cuts a JSON answer where it hurts most: the token's value is in it,
// and it can't be parsed.
func broken(body []byte) []byte {
	if i := bytes.Index(body, []byte(`"token_value":"`)); i >= 0 {
		start := i + len(`"token_value":"`)
		if end := bytes.IndexByte(body[start:], '"'); end >= 0 {
			return body[:start+end+1]
		}
	}
	return body[:len(body)/2]
}

// strike hangs or ends the connection; it returns only from a hang.
func strike(rw http.ResponseWriter, r *http.Request, f *Fault) {
	switch f.Effect {
	case Hang:
		<-r.Context().Done()
		panic(http.ErrAbortHandler)
	case Reset:
		hangUp(rw, true)
	default:
		hangUp(rw, false)
	}
}

// hangUp ends the connection below net/http's feet; of an HTTP/2 connection it
// resets the stream. It doesn't return.
func hangUp(rw http.ResponseWriter, reset bool) {
	if s, ok := unwrap(rw).(interface{ hangUp(reset bool) }); ok {
		s.hangUp(reset)
	}
	conn, _, err := http.NewResponseController(rw).Hijack()
	if err == nil {
		raw := conn
		if t, ok := raw.(interface{ NetConn() net.Conn }); ok { // TLS
			raw = t.NetConn()
		}
		if tcp, ok := raw.(*net.TCPConn); ok && reset {
			_ = tcp.SetLinger(0) // close sends RST
		}
		_ = raw.Close()
	}
	panic(http.ErrAbortHandler)
}

func unwrap(rw http.ResponseWriter) http.ResponseWriter {
	for {
		u, ok := rw.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return rw
		}
		rw = u.Unwrap()
	}
}

// lostAnswer takes an answer that nobody gets.
type lostAnswer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (l *lostAnswer) Header() http.Header { return l.header }

func (l *lostAnswer) WriteHeader(status int) {
	if l.status == 0 {
		l.status = status
	}
}

func (l *lostAnswer) Write(p []byte) (int, error) {
	l.WriteHeader(http.StatusOK)
	return l.body.Write(p)
}

func (l *lostAnswer) Flush() {}

// send gives the client the answer after all, with this body.
func (l *lostAnswer) send(c *call, body []byte) {
	maps.Copy(c.Header(), l.header)
	c.WriteHeader(max(l.status, http.StatusOK))
	_, _ = c.Write(body)
}

// sleep waits for d; it reports false if ctx was done before.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
