package proxy

import (
	"encoding/json"
	"net/http"
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
	switch api {
	case messages, countTokens, anthropic:
		return map[string]any{
			"type":  "error",
			"error": map[string]string{"type": anthropicType(a.status), "message": a.message},
		}
	case gemini:
		return map[string]any{
			"error": map[string]any{"code": a.status, "message": a.message, "status": googleStatus(a.status)},
		}
	case databricks:
		return map[string]string{"error_code": databricksCode(a.status), "message": a.message}
	}
	kind := "server_error"
	if a.status < 500 {
		kind = "invalid_request_error"
	}
	return map[string]any{
		"error": map[string]any{"message": a.message, "type": kind, "param": nil, "code": "patrol_" + strconv.Itoa(a.status)},
	}
}

func anthropicType(status int) string {
	switch status {
	case http.StatusUnauthorized:
		return "authentication_error"
	case http.StatusForbidden:
		return "permission_error"
	case http.StatusNotFound:
		return "not_found_error"
	case http.StatusRequestEntityTooLarge:
		return "request_too_large"
	}
	if status < 500 {
		return "invalid_request_error"
	}
	return "api_error"
}

func googleStatus(status int) string {
	switch status {
	case http.StatusUnauthorized:
		return "UNAUTHENTICATED"
	case http.StatusForbidden:
		return "PERMISSION_DENIED"
	case http.StatusNotFound:
		return "NOT_FOUND"
	}
	if status < 500 {
		return "INVALID_ARGUMENT"
	}
	return "UNAVAILABLE"
}

func databricksCode(status int) string {
	switch status {
	case http.StatusUnauthorized:
		return "UNAUTHENTICATED"
	case http.StatusForbidden:
		return "PERMISSION_DENIED"
	case http.StatusNotFound:
		return "ENDPOINT_NOT_FOUND"
	}
	if status < 500 {
		return "BAD_REQUEST"
	}
	return "TEMPORARILY_UNAVAILABLE"
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
