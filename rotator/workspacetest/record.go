package workspacetest

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"
)

// Request is one request as it reached the workspace, without secrets.
type Request struct {
	Time   time.Time // when its header had come, by the workspace's clock
	Method string
	Path   string // as it came, decoded
	Query  string
	Host   string
	Proto  string // "HTTP/1.1", "HTTP/2.0"

	// Header as it came, but each credential replaced: a token by its id, what
	// is no token of this workspace by "sha256:" and its hash.
	Header http.Header

	TokenID   string // the bearer's; "" if it is none of this workspace's
	TokenHash string // hex SHA-256 of the bearer; "" if there is none
	User      string // whose token it is
	Valid     bool   // the token was valid when the request came
	Status    int    // of the answer; 0 while there is none, or none was given
	Fault     bool   // a fault struck it
	Body      []byte // decoded; model endpoints only
	Done      bool   // the answer has ended, well or not
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

// Count returns how many requests came in, remembered or not.
func (w *Workspace) Count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.count
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
	w     *Workspace
	req   *Request // guarded by w.mu; only this call changes it
	token *Token   // guarded by w.mu; nil if the bearer is unknown
	user  string
	valid bool
	body  []byte

	status  int
	lost    bool // the answer goes nowhere
	flushes int
	limit   int    // flushes before strike is called; 0 is never
	strike  func() // doesn't return
}

// open records the request and looks its token up, in one step: it was valid
// when it came, or it wasn't.
func (w *Workspace) open(rw http.ResponseWriter, r *http.Request) *call {
	now := w.now()
	rw.Header().Set("Date", now.UTC().Format(http.TimeFormat))
	bearer := bearerOf(r.Header)
	c := &call{ResponseWriter: rw, w: w}
	w.mu.Lock()
	defer w.mu.Unlock()
	c.req = &Request{
		Time: now, Method: r.Method, Path: r.URL.Path, Query: w.redactQuery(r.URL.RawQuery), Host: r.Host, Proto: r.Proto,
		Header: w.redact(r.Header), TokenHash: hash(bearer),
	}
	if t := w.byHash[hash(bearer)]; t != nil {
		c.token, c.user, c.valid = t, t.User, t.valid(now)
		c.req.TokenID, c.req.User, c.req.Valid = t.ID, t.User, c.valid
	}
	w.count++
	w.active++
	switch keep := w.cfg.KeepRequests; {
	case keep < 0:
	case keep > 0 && len(w.requests) >= keep:
		w.requests = append(w.requests[len(w.requests)-keep+1:], c.req)
	default:
		w.requests = append(w.requests, c.req)
	}
	return c
}

// record notes how the call ended.
func (c *call) record() {
	c.w.mu.Lock()
	defer c.w.mu.Unlock()
	c.req.Status, c.req.Done = c.status, true
	c.w.active--
	c.w.ended.Broadcast()
}

// wait waits until no call is under way.
func (w *Workspace) wait() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.active > 0 {
		w.ended.Wait()
	}
}

// struck notes that a fault struck the call.
func (c *call) struck() {
	c.w.mu.Lock()
	defer c.w.mu.Unlock()
	c.req.Fault = true
}

// maxBody is more than any agent sends.
const maxBody = 64 << 20

// readBody reads and decodes the whole body. It also lets net/http notice a
// client that leaves: it looks for that only after the body's end.
func (c *call) readBody(r *http.Request) error {
	var in io.Reader = r.Body
	switch r.Header.Get("Content-Encoding") {
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
	var buf bytes.Buffer
	if _, err := io.Copy(&buf, io.LimitReader(in, maxBody)); err != nil {
		return err
	}
	c.body = buf.Bytes()
	return nil
}

func (c *call) WriteHeader(status int) {
	if status >= 200 && c.status == 0 && !c.lost {
		c.status = status
		c.w.mu.Lock()
		c.req.Status = status
		c.w.mu.Unlock()
	}
	c.ResponseWriter.WriteHeader(status)
}

func (c *call) Write(p []byte) (int, error) {
	if c.status == 0 && !c.lost {
		c.WriteHeader(http.StatusOK)
	}
	return c.ResponseWriter.Write(p) //nolint:gosec // it answers programs
}

// Flush sends what was written, and strikes if the call's fault waits for it.
func (c *call) Flush() {
	_ = http.NewResponseController(c.ResponseWriter).Flush()
	c.flushes++
	if c.limit > 0 && c.flushes >= c.limit {
		c.strike()
	}
}

// Unwrap is for http.ResponseController.
func (c *call) Unwrap() http.ResponseWriter { return c.ResponseWriter }

// bearerOf returns the bearer token, "" if there is none.
func bearerOf(h http.Header) string {
	scheme, value, ok := strings.Cut(h.Get("Authorization"), " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(value)
}

// redact returns a copy of the header with each credential replaced. The
// caller holds w.mu.
func (w *Workspace) redact(in http.Header) http.Header {
	h := in.Clone()
	for _, name := range []string{"X-Api-Key", "Api-Key", "X-Goog-Api-Key", "Cookie"} {
		for i, v := range h[name] {
			h[name][i] = w.nameOf(v)
		}
	}
	for _, name := range []string{"Authorization", "Proxy-Authorization"} {
		for i, v := range h[name] {
			if scheme, value, ok := strings.Cut(v, " "); ok {
				h[name][i] = scheme + " " + w.nameOf(strings.TrimSpace(value))
			} else {
				h[name][i] = w.nameOf(v)
			}
		}
	}
	return h
}

// redactQuery does it with a query that has a credential in it, as Google's
// clients send it. Any other query stays as it came. The caller holds w.mu.
func (w *Workspace) redactQuery(raw string) string {
	query, err := url.ParseQuery(raw)
	if err != nil || !query.Has("key") && !query.Has("access_token") {
		return raw
	}
	for _, name := range []string{"key", "access_token"} {
		for i, v := range query[name] {
			query[name][i] = w.nameOf(v)
		}
	}
	return query.Encode()
}

// nameOf returns what may be shown of a credential. The caller holds w.mu.
func (w *Workspace) nameOf(value string) string {
	if t := w.byHash[hash(value)]; t != nil {
		return t.ID
	}
	return "sha256:" + hash(value)
}

// resolve is lenient where a careless front end is: it decodes, joins "..",
// doubled slashes and case, so that a path that a proxy should have refused
// does its harm here and a test sees it.
func resolve(p string) string {
	return path.Clean("/" + strings.ToLower(strings.ReplaceAll(p, `\`, "/")))
}
