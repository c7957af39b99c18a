package proxy

import (
	"encoding/json"
	"net/http"
)

// own answers what is asked of patrol itself, and reports whether it was.
func (p *Proxy) own(w http.ResponseWriter, r *http.Request) bool {
	switch r.URL.Path {
	case "/", "/healthz", "/readyz", "/health":
	default:
		return false
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		answer{status: http.StatusMethodNotAllowed, message: "patrol answers GET and HEAD here."}.send(w, openAI)
		return true
	}
	status, page := http.StatusOK, map[string]any{"status": "ok"}
	switch r.URL.Path {
	case "/readyz":
		if err := p.usable(); err != nil {
			status, page = http.StatusServiceUnavailable, map[string]any{"status": "not ready", "reason": err.Error()}
		}
	case "/health": // alive, whatever its token; what CoDA's proxy calls so
		err := p.usable()
		page["ready"] = err == nil
		if err != nil {
			page["reason"] = err.Error()
		}
	case "/":
		page["service"] = "patrol"
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(page) // a client that is gone needs no answer
	return true
}
