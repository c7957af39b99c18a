package proxy

import (
	"encoding/json"
	"net/http"

	"patrol/proxy/guard"
)

// own answers what is asked of patrol itself, and reports whether it was.
func (p *Proxy) own(w http.ResponseWriter, r *http.Request) bool {
	switch r.URL.Path {
	case "/", "/healthz", "/readyz", "/health", "/metrics":
	default:
		if !looksAtBase(r) {
			return false
		}
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

// looksAtBase reports whether r asks whether anybody is at a base URL that agents are
// given: some look first.
func looksAtBase(r *http.Request) bool {
	switch r.URL.Path {
	case "/v1", "/anthropic", "/openai/v1", "/gemini":
		return r.Method == http.MethodHead
	}
	return false
}

// askedOf tells the guard what r is for.
func askedOf(r *http.Request) guard.Asked {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return guard.Upstream
	}
	switch r.URL.Path {
	case "/healthz", "/readyz":
		return guard.Probe
	case "/":
		return guard.OpenPage
	case "/health", "/metrics":
		return guard.OwnPage
	}
	if looksAtBase(r) {
		return guard.OpenPage
	}
	return guard.Upstream
}

// tellStranger answers whom the guard lets see that patrol is there. Supervisors that
// probe from another machine learn whether it is well, and nobody learns more.
func (p *Proxy) tellStranger(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.URL.Path == "/readyz" && p.usable() != nil:
		writePage(w, http.StatusServiceUnavailable, nil)
	case r.URL.Path == "/readyz", r.URL.Path == "/healthz":
		writePage(w, http.StatusOK, nil)
	default:
		writePage(w, http.StatusOK, page{Status: "ok", Service: "patrol"})
	}
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

// ownHeader returns the header of an answer of patrol's own. A browser that comes to
// show one neither runs nor keeps anything of it, nor shows it to a page.
func ownHeader(w http.ResponseWriter) http.Header {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Content-Security-Policy", "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	// Whatever had this port before may have left a worker in the browser. Cookies are
	// the whole host's, not this port's alone, and stay.
	h.Set("Clear-Site-Data", `"storage"`)
	return h
}
