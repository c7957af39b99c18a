package workspacetest

import (
	"compress/gzip"
	"io"
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"
)

// Request is one request as it reached the workspace.
type Request struct {
	Time    time.Time // when its header had come, by the workspace's clock
	Method  string
	Path    string // as it came, decoded
	Query   string
	Host    string
	Proto   string      // "HTTP/1.1", "HTTP/2.0"
	Header  http.Header // as it came, but for credentials
	TokenID string      // the bearer's; "" if it is none of this workspace's
	Valid   bool        // the token was valid when the request came
	Status  int         // of the answer; 0 while there is none, or none was given
	Fault   bool        // a fault struck it
	Body    []byte      // decoded; model endpoints only
}

// Requests returns what came in, oldest first, those under way included.
func (w *Workspace) Requests() []Request {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := make([]Request, len(w.requests))
	for i, r := range w.requests {
		all[i] = *r
	}
	return all
}

// Forget drops the recorded requests.
func (w *Workspace) Forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.requests = nil
}

// call is one request being answered, and the ResponseWriter of its answer.
type call struct {
	http.ResponseWriter
	w      *Workspace
	in     *http.Request
	path   string   // resolved
	record *Request // guarded by w.mu; only this call changes it
	token  Token    // as it was when the request came; zero if the bearer is unknown
	valid  bool
	body   []byte

	flushes int
	fault   *Fault // ends the stream after so many flushes; nil is none
}

// open records the request and looks its token up, in one step: it was valid
// when it came, or it wasn't.
func (w *Workspace) open(rw http.ResponseWriter, r *http.Request) *call {
	now := w.now()
	rw.Header().Set("Date", now.UTC().Format(http.TimeFormat))
	c := &call{ResponseWriter: rw, w: w, in: r, path: resolve(r.URL.Path)}
	c.record = &Request{
		Time: now, Method: r.Method, Path: r.URL.Path, Query: r.URL.RawQuery, Host: r.Host, Proto: r.Proto,
		Header: withoutCredentials(r.Header),
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if t := w.byHash[hash(bearerOf(r.Header))]; t != nil {
		c.token, c.valid = *t, t.valid(now)
		c.record.TokenID, c.record.Valid = t.ID, c.valid
	}
	if !w.cfg.NoRecord {
		w.requests = append(w.requests, c.record)
	}
	return c
}

// changeRecord changes the call's record.
func (c *call) changeRecord(change func(*Request)) {
	c.w.mu.Lock()
	defer c.w.mu.Unlock()
	change(c.record)
}

// readBody reads and decodes the whole body.
func (c *call) readBody() error {
	var in io.Reader = c.in.Body
	switch c.in.Header.Get("Content-Encoding") {
	case "gzip":
		z, err := gzip.NewReader(in)
		if err != nil {
			return err
		}
		in = z
	case "zstd":
		z, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1))
		if err != nil {
			return err
		}
		defer z.Close()
		in = z
	}
	body, err := io.ReadAll(in)
	c.body = body
	if modelAPI(c.path) != "" {
		c.changeRecord(func(r *Request) { r.Body = body })
	}
	return err
}

func (c *call) WriteHeader(status int) {
	c.changeRecord(func(r *Request) { r.Status = status })
	c.ResponseWriter.WriteHeader(status)
}

// Flush sends what was written, and strikes if the call's fault waits for it.
func (c *call) Flush() {
	_ = http.NewResponseController(c.ResponseWriter).Flush()
	c.flushes++
	if c.fault != nil && c.flushes >= c.fault.Events {
		c.cutConnection(c.fault.Effect)
	}
}

// bearerOf returns the bearer token, "" if there is none.
func bearerOf(h http.Header) string {
	scheme, value, ok := strings.Cut(h.Get("Authorization"), " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(value)
}

func withoutCredentials(h http.Header) http.Header {
	h = h.Clone()
	for _, name := range []string{"Authorization", "Proxy-Authorization", "X-Api-Key", "Api-Key", "X-Goog-Api-Key", "Cookie"} {
		h.Del(name)
	}
	return h
}

// resolve is lenient where a careless front end is: it decodes, joins "..",
// doubled slashes and case, so that a path that a proxy should have refused
// does its harm here and a test sees it.
func resolve(p string) string {
	return path.Clean("/" + strings.ToLower(strings.ReplaceAll(p, `\`, "/")))
}
