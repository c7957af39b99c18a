package proxy

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"time"
)

// answer is what patrol tells an agent by itself, in place of an upstream.
type answer struct {
	status     int
	message    string        // for the person before the agent: what is wrong, and what to do
	retryAfter time.Duration // 0: trying again doesn't help
}

// send writes the answer in the form in which a's agents look for errors.
func (a answer) send(w http.ResponseWriter, api api) {
	body, err := json.Marshal(a.form(api))
	if err != nil {
		body = []byte(`{"error":{"message":"patrol"}}`) // strings and numbers always encode
	}
	h := ownHeader(w)
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(body)+1))
	if a.retryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int((a.retryAfter+time.Second-1)/time.Second)))
	}
	w.WriteHeader(a.status)
	_, _ = w.Write(append(body, '\n')) // a client that is gone needs no answer
}

// form is the answer's body.
func (a answer) form(api api) any {
	kind := kindOf(a.status)
	switch api {
	case messages, countTokens, anthropic:
		return map[string]any{"type": "error", "error": map[string]string{"type": kind.anthropic, "message": a.message}}
	case gemini:
		return map[string]any{"error": map[string]any{"code": a.status, "message": a.message, "status": kind.google}}
	case databricks:
		return map[string]string{"error_code": kind.databricks, "message": a.message}
	}
	return map[string]any{
		"error": map[string]any{"message": a.message, "type": kind.openAI, "param": nil, "code": "patrol_" + strconv.Itoa(a.status)},
	}
}

// errorKind is what each API calls a kind of error.
type errorKind struct{ openAI, anthropic, google, databricks string }

func kindOf(status int) errorKind {
	switch {
	case status == http.StatusUnauthorized:
		return errorKind{"invalid_request_error", "authentication_error", "UNAUTHENTICATED", "UNAUTHENTICATED"}
	case status == http.StatusForbidden:
		return errorKind{"invalid_request_error", "permission_error", "PERMISSION_DENIED", "PERMISSION_DENIED"}
	case status == http.StatusNotFound:
		return errorKind{"invalid_request_error", "not_found_error", "NOT_FOUND", "ENDPOINT_NOT_FOUND"}
	case status < 500:
		return errorKind{"invalid_request_error", "invalid_request_error", "INVALID_ARGUMENT", "BAD_REQUEST"}
	}
	return errorKind{"server_error", "api_error", "UNAVAILABLE", "TEMPORARILY_UNAVAILABLE"}
}

// apiOf says in whose form to answer a request that gets no further.
func (p *Proxy) apiOf(r *http.Request) api {
	if route := p.router.find(r.URL.Path); route != nil {
		return route.api
	}
	switch h := r.Header; {
	case strings.HasPrefix(r.URL.Path, "/api/"):
		return databricks
	case h.Get("Anthropic-Version") != "" || strings.Contains(r.URL.Path, "/anthropic/"):
		return anthropic
	case h.Get("X-Goog-Api-Key") != "" || strings.Contains(r.URL.Path, "/v1beta/"):
		return gemini
	}
	return openAI
}

// panicked answers a request whose goroutine panics, and must be deferred. An
// answer that has begun is cut.
func (p *Proxy) panicked(w http.ResponseWriter, r *http.Request, e **exchange) {
	v := recover()
	if v == nil {
		return
	}
	if v == http.ErrAbortHandler { //nolint:errorlint // it is the value itself, for the server to see
		panic(v)
	}
	logPanic(p.cfg.Log, v)
	if *e != nil && (*e).answering {
		panic(http.ErrAbortHandler)
	}
	clear(w.Header())
	answer{status: http.StatusInternalServerError, message: "A mistake in patrol ended this request. The log of `patrol serve` has the details; please report them."}.send(w, p.apiOf(r))
}

// logPanic logs where a panic came from. Its value may hold anything, and a
// token: only the runtime's own are shown.
func logPanic(log *slog.Logger, v any) {
	what := fmt.Sprintf("%T", v)
	if err, ok := v.(interface {
		error
		RuntimeError()
	}); ok {
		what = err.Error()
	}
	log.Error("a mistake in patrol ended a request", "panic", what, "stack", string(debug.Stack()))
}
