package proxy_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"patrol/proxy"
	"patrol/rotator/pat"
	"patrol/rotator/workspacetest"
)

// wantPanic makes sure that the log tells of one panic, where it came from, and no
// token.
func (f *fixture) wantPanic(t *testing.T, function, token string) {
	t.Helper()
	out := f.log.String()
	if strings.Count(out, "panic=") != 1 || !strings.Contains(out, function) || !strings.Contains(out, "level=ERROR") {
		t.Errorf("the log doesn't tell of it, once: %s", out)
	}
	if strings.Contains(out, token) {
		t.Errorf("the token is in the log: %s", out)
	}
}

// A panic in a request's goroutine is that request's 500, and holds nothing up.
func TestPanicIsOneRequests500(t *testing.T) {
	for _, tt := range []struct{ path, form string }{
		{"/v1/chat/completions", `"code":"patrol_500"`},
		{"/v1/messages", `"type":"api_error"`},
		{"/serving-endpoints/m/invocations", `"error_code":`},
	} {
		t.Run(tt.path, func(t *testing.T) {
			ws := workspace(t, workspacetest.Config{})
			tok := issue(ws)
			h := open(t, proxy.Config{Host: ws.URL, Refused: func(_ context.Context, tok pat.Token) (pat.Token, bool) {
				panic("refused: " + tok.Expose())
			}})
			h.publish(t, tok)
			ws.Revoke(tok.ID)
			got := h.do(t, http.MethodPost, tt.path, question)
			if got.StatusCode != http.StatusInternalServerError || !strings.Contains(got.body, tt.form) || strings.Contains(got.body, tok.Expose()) {
				t.Errorf("%d %s", got.StatusCode, got.body)
			}
			h.wantPanic(t, "TestPanicIsOneRequests500", tok.Expose())
			<-h.publish(t, issue(ws))
			h.givesBack(t)
			if got := h.do(t, http.MethodPost, "/v1/chat/completions", question); got.StatusCode != http.StatusOK {
				t.Errorf("the next one: %d %s", got.StatusCode, got.body)
			}
		})
	}
}

// So is one before it is known where the request goes.
func TestPanicOfPage(t *testing.T) {
	ws := workspace(t, workspacetest.Config{})
	h := open(t, proxy.Config{Host: ws.URL, Ready: func() error {
		var none *pat.Handover
		_ = none.Token
		return nil
	}})
	if got := h.do(t, http.MethodGet, "/readyz", ""); got.StatusCode != http.StatusInternalServerError {
		t.Errorf("%d %s", got.StatusCode, got.body)
	}
	h.wantPanic(t, "TestPanicOfPage", "dapi")
}

// panicking breaks in the middle: as a body, and as the writer of an answer.
type panicking struct {
	http.ResponseWriter
	begun bool
}

func (p *panicking) breaks() {
	if p.begun {
		panic("in the middle of " + canary)
	}
	p.begun = true
}

func (p *panicking) Read(b []byte) (int, error) {
	p.breaks()
	return copy(b, "first "), nil
}

func (*panicking) Close() error { return nil }

func (p *panicking) Write(b []byte) (int, error) {
	p.breaks()
	return p.ResponseWriter.Write(b)
}

func (p *panicking) Flush() { _ = http.NewResponseController(p.ResponseWriter).Flush() }

// An answer that has begun is cut: an end would be a lie, and so would a 500.
func TestPanicCutsAnswer(t *testing.T) {
	next := make(chan struct{})
	up := upstream(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "first ")
		_ = http.NewResponseController(w).Flush()
		<-next
		_, _ = io.WriteString(w, "second")
	})
	h := open(t, proxy.Config{Host: up.URL})
	h.publish(t, pat.New(canary, up.URL))
	front := upstream(t, func(w http.ResponseWriter, r *http.Request) { h.ServeHTTP(&panicking{ResponseWriter: w}, r) })
	res, err := http.Post(front.URL+"/v1/chat/completions", "", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	close(next)
	if got, err := io.ReadAll(res.Body); res.StatusCode != http.StatusOK || string(got) != "first " || err == nil {
		t.Errorf("%d %q %v", res.StatusCode, got, err)
	}
	h.wantPanic(t, "panicking", canary)
}

// A body is read before it is sent, or while.
func TestPanicOfBody(t *testing.T) {
	up := upstream(t, func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
	for _, limit := range []int{0, -1} {
		h := open(t, proxy.Config{Host: up.URL, ReplayLimit: limit})
		h.publish(t, pat.New(canary, up.URL))
		ctx, done := context.WithCancel(t.Context()) // as the server's is when a handler has returned
		r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/v1/chat/completions", &panicking{})
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		done()
		if w.Code != http.StatusInternalServerError {
			t.Errorf("%d %s", w.Code, w.Body)
		}
		h.wantPanic(t, "panicking", canary)
	}
}
