package proxy

import (
	"encoding/json"
	"net/http"
)

// own answers what is asked of patrol itself, and reports whether it was.
func (p *Proxy) own(w http.ResponseWriter, r *http.Request) bool {
	switch r.URL.Path {
	case "/", "/healthz", "/readyz", "/health", "/metrics":
	case "/v1", "/anthropic", "/openai/v1", "/gemini":
		// The base URLs that agents are given: some look first whether anybody
		// is there.
		if r.Method != http.MethodHead {
			return false
		}
	default:
		return false
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		answer{status: http.StatusMethodNotAllowed, message: "patrol answers GET and HEAD here."}.send(w, openAI)
		return true
	}
	switch r.URL.Path {
	case "/readyz":
		status, about := http.StatusOK, page{Status: "ok", Warnings: p.cfg.Warnings()}
		if err := p.usable(); err != nil {
			status, about.Status, about.Reason = http.StatusServiceUnavailable, "not ready", err.Error()
		}
		writePage(w, status, about)
	case "/health": // alive, whatever its token; other proxies have it on this path
		about := page{Status: "ok", Ready: new(true), Warnings: p.cfg.Warnings()}
		if err := p.usable(); err != nil {
			about.Ready, about.Reason = new(false), err.Error()
		}
		writePage(w, http.StatusOK, about)
	case "/metrics":
		p.metrics(w)
	default:
		writePage(w, http.StatusOK, page{Status: "ok", Service: "patrol"})
	}
	return true
}

// page is what patrol says about itself.
type page struct {
	Service  string   `json:"service,omitempty"`
	Status   string   `json:"status"`
	Ready    *bool    `json:"ready,omitempty"`
	Reason   string   `json:"reason,omitempty"`
	Warnings []string `json:"warnings,omitempty"`
}

// writePage sends a page as JSON, or nothing but the status if it is nil.
func writePage(w http.ResponseWriter, status int, v any) {
	h := ownHeader(w)
	if v == nil {
		w.WriteHeader(status)
		return
	}
	h.Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // a client that is gone needs no answer
}

// ownHeader returns the header of an answer of patrol's own.
func ownHeader(w http.ResponseWriter) http.Header {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	return h
}
