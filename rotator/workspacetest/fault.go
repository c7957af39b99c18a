package workspacetest

import (
	"cmp"
	"context"
	"crypto/tls"
	"maps"
	"net/http"
	"net/http/httptest"
	"path"
	"regexp"
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
	seen   int                      // how many have matched

	Effect Effect
	After  bool          // see Effect
	Events int           // a stream is struck (by Hang, Reset or Close) only once it has sent so many events
	Delay  time.Duration // before the effect, and before the call does anything, unless After; it ends if the client leaves
	Status int           // for Answer; 0 is 200
	Header http.Header   // for Answer
	Body   string        // for Answer
}

// Inject adds a fault. Of several that match a call, the one injected first
// strikes.
func (w *Workspace) Inject(f Fault) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.faults = append(w.faults, &f)
}

// Heal removes all injected faults. Calls that hang go on hanging.
func (w *Workspace) Heal() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.faults = nil
}

// nextFault returns the fault that strikes this request, nil if none does.
func (w *Workspace) nextFault(c *call) *Fault {
	if f := w.injected(c); f != nil {
		return f
	}
	if w.cfg.Fault == nil {
		return nil
	}
	return w.cfg.Fault(c.in)
}

func (w *Workspace) injected(c *call) *Fault {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, f := range w.faults {
		if !f.matches(c) {
			continue
		}
		f.seen++
		if f.seen > f.Skip && (f.Times == Always || f.seen <= f.Skip+max(f.Times, 1)) {
			return f
		}
	}
	return nil
}

func (f *Fault) matches(c *call) bool {
	if f.Method != "" && f.Method != c.in.Method || f.Match != nil && !f.Match(c.in) {
		return false
	}
	pattern := strings.ToLower(f.Path) // as resolve does
	if start, ok := strings.CutSuffix(pattern, "**"); ok {
		return strings.HasPrefix(c.path, start)
	}
	ok, err := path.Match(pattern, c.path)
	return f.Path == "" || err == nil && ok
}

// fail answers the call as the fault would have it.
func (w *Workspace) fail(c *call, f *Fault) {
	c.changeRecord(func(r *Request) { r.Fault = true })
	var late *httptest.ResponseRecorder
	if f.After || f.Effect == Break {
		late = w.answerNobody(c)
	}
	if !sleep(c.in.Context(), f.Delay) {
		panic(http.ErrAbortHandler) // the client has left
	}
	switch {
	case f.Effect == Answer:
		maps.Copy(c.Header(), f.Header)
		c.WriteHeader(cmp.Or(f.Status, http.StatusOK))
		_, _ = c.Write([]byte(f.Body)) //nolint:gosec // what the test says is what is answered
	case f.Effect == Empty:
		writeBody(c, http.StatusOK, "application/json", "{}")
	case f.Effect == Break:
		c.send(late, broken(late.Body.Bytes()))
	case f.Effect == Slow && late != nil:
		c.send(late, late.Body.Bytes())
	case f.Effect == Slow:
		w.answer(c)
	case f.Events > 0 && late == nil:
		c.fault = f
		w.answer(c)
	default:
		c.cutConnection(f.Effect)
	}
}

// answerNobody does what the call asks for, and keeps the answer.
func (w *Workspace) answerNobody(c *call) *httptest.ResponseRecorder {
	kept := httptest.NewRecorder()
	unseen := *c
	unseen.ResponseWriter, unseen.record = kept, new(Request)
	w.answer(&unseen)
	return kept
}

// send gives the client a kept answer after all, with this body.
func (c *call) send(kept *httptest.ResponseRecorder, body []byte) {
	maps.Copy(c.Header(), kept.Header())
	c.WriteHeader(kept.Code)
	_, _ = c.Write(body)
}

var upToValue = regexp.MustCompile(`^.*"token_value":"[^"]*"`)

// broken cuts a JSON answer where it hurts most: the token's value is in it,
// and it can't be parsed.
func broken(body []byte) []byte {
	if cut := upToValue.Find(body); cut != nil {
		return cut
	}
	return body[:len(body)/2]
}

// cutConnection hangs until the client leaves, or ends the connection below net/http's
// feet; of an HTTP/2 connection it resets the stream. It doesn't return.
func (c *call) cutConnection(effect Effect) {
	if effect == Hang {
		<-c.in.Context().Done()
		panic(http.ErrAbortHandler)
	}
	if conn, _, err := http.NewResponseController(c.ResponseWriter).Hijack(); err == nil {
		raw := conn
		if t, ok := raw.(*tls.Conn); ok {
			raw = t.NetConn()
		}
		if r, ok := raw.(interface{ SetLinger(sec int) error }); ok && effect == Reset {
			_ = r.SetLinger(0) // close sends RST
		}
		_ = raw.Close()
	}
	panic(http.ErrAbortHandler)
}

// sleep waits for d; it reports false if ctx was done before.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}
