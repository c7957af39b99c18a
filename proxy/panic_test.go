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

type transportFunc func(*http.Request) (*http.Response, error)

func (f transportFunc) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// wantPanic makes sure that the log tells of one panic, where it came from, and no
// token.
func (h *fixture) wantPanic(t *testing.T, function, token string) {
	t.Helper()
	out := h.log.String()
	if strings.Count(out, "panic=") != 1 || !strings.Contains(out, function) || !strings.Contains(out, "level=ERROR") {
		t.Errorf("the log doesn't tell of it, once: %s", out)
	}
	if strings.Contains(out, token) {
		t.Errorf("the token is in the log: %s", out)
	}
}

// A panic in a request's goroutine is that request's 500.
func TestPanicIsOneRequests500(t *testing.T) {
	ws := workspace(t, workspacetest.Config{})
	tok := issue(ws)
	transport := transportFunc(func(r *http.Request) (*http.Response, error) {
		if r.Header.Get("X-Panics") != "" {
			panic("sent with " + r.Header.Get("Authorization"))
		}
		return http.DefaultTransport.RoundTrip(r)
	})
	for _, tt := range []struct{ path, form string }{
		{"/v1/chat/completions", `"code":"patrol_500"`},
		{"/v1/messages", `"type":"api_error"`},
		{"/serving-endpoints/m/invocations", `"error_code":`},
	} {
		t.Run(tt.path, func(t *testing.T) {
			h := open(t, proxy.Config{Host: ws.URL, Transport: transport})
			h.publish(t, tok)
			got := h.do(t, http.MethodPost, tt.path, "{}", "X-Panics", "yes")
			if got.StatusCode != http.StatusInternalServerError || !strings.Contains(got.body, tt.form) || strings.Contains(got.body, tok.Expose()) {
				t.Errorf("%d %s", got.StatusCode, got.body)
			}
			h.wantPanic(t, "TestPanicIsOneRequests500", tok.Expose())
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

// panicking is a body that breaks in the middle.
type panicking struct{ begun bool }

func (p *panicking) Read(b []byte) (int, error) {
	if p.begun {
		panic("in the middle")
	}
	p.begun = true
	return copy(b, "first "), nil
}

func (*panicking) Close() error { return nil }

// An answer that has begun is cut: an end would be a lie, and so would a 500.
func TestPanicCutsAnswer(t *testing.T) {
	ws := workspace(t, workspacetest.Config{})
	h := open(t, proxy.Config{Host: ws.URL, Transport: transportFunc(func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: &panicking{}, ContentLength: -1}, nil
	})})
	tok := issue(ws)
	h.publish(t, tok)
	got := h.do(t, http.MethodPost, "/v1/chat/completions", "{}")
	if got.StatusCode != http.StatusOK || got.body != "first " || got.err == nil {
		t.Errorf("%d %q %v", got.StatusCode, got.body, got.err)
	}
	h.wantPanic(t, "panicking", tok.Expose())
}

// http.Transport reads a body in a goroutine of its own: nobody else would stop a
// panic there.
func TestPanicOfBody(t *testing.T) {
	up := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusOK)
	})
	h := open(t, proxy.Config{Host: up.URL, ReplayLimit: -1})
	tok := pat.New("dapi-canary-0123456789abcdef", up.URL)
	h.publish(t, tok)
	r := httptest.NewRequestWithContext(context.WithoutCancel(t.Context()), http.MethodPost, "/v1/chat/completions", &panicking{})
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if w.Code != http.StatusInternalServerError {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	h.wantPanic(t, "panicking", tok.Expose())
}
