package proxy_test

import (
	"net/http"
	"strings"
	"testing"

	"patrol/proxy"
	"patrol/rotator/pat"
)

// TestFieldsForBrowsers: what an upstream says to browsers of its own host doesn't reach
// those of ours.
func TestFieldsForBrowsers(t *testing.T) {
	gone := []string{
		"Set-Cookie", "Alt-Svc", "Strict-Transport-Security", "Clear-Site-Data", "Public-Key-Pins", "NEL", "Report-To",
		"Access-Control-Allow-Origin", "Access-Control-Expose-Headers",
	}
	up := upstream(t, func(w http.ResponseWriter, _ *http.Request) {
		for _, name := range gone {
			w.Header().Set(name, "x")
		}
		w.Header().Set("X-Request-Id", "stays")
	})
	h := open(t, proxy.Config{Host: up.URL})
	h.publish(t, pat.New(canary, up.URL))
	got := h.do(t, "POST", "/v1/messages", question)
	for _, name := range gone {
		if got.Header.Get(name) != "" {
			t.Errorf("%s came", name)
		}
	}
	if got.StatusCode != http.StatusOK || got.Header.Get("X-Request-Id") != "stays" {
		t.Errorf("%d %v", got.StatusCode, got.Header)
	}
}

// TestRedirects: one within its route leads back to us, any other is an error that names
// where it would have led. Nobody follows it.
func TestRedirects(t *testing.T) {
	var location string
	up := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", location)
		w.Header().Set("X-Echo", r.Header.Get("Authorization"))
		w.WriteHeader(http.StatusTemporaryRedirect)
	})
	h := open(t, proxy.Config{Host: up.URL})
	h.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	h.publish(t, pat.New(canary, up.URL))
	for _, tt := range []struct{ path, location, want string }{
		{"/v1beta/models/m:x", up.URL + "/serving-endpoints/google/v1beta/models/n:x?a=b#c", "/v1beta/models/n:x?a=b#c"},
		{"/v1beta/models/m:x", "n%20:x", ""},
		{"/serving-endpoints/m/invocations", "/serving-endpoints/n/invocations", "/serving-endpoints/n/invocations"},
		{"/serving-endpoints/m/invocations", "/serving-endpoints/a%20b/x", "/serving-endpoints/a%20b/x"},
		{"/v1/messages", "/serving-endpoints/anthropic/v1/messages?again=1", "/v1/messages?again=1"},
		{"/v1/messages", "/serving-endpoints/anthropic/v1/messages/x", ""},
		{"/v1/messages", "/login.html", ""},
		{"/serving-endpoints/m", "/serving-endpoints/../api/2.0/token/create", ""},
		{"/serving-endpoints/m", "https://evil.example/serving-endpoints/m", ""},
		{"/serving-endpoints/m", "//evil.example/serving-endpoints/m", ""},
		{"/serving-endpoints/m", "http://%zz/", ""},
	} {
		location = tt.location
		got := h.do(t, "POST", tt.path, question)
		if tt.want != "" && (got.StatusCode != http.StatusTemporaryRedirect || got.Header.Get("Location") != tt.want) {
			t.Errorf("%s to %s: %d to %q, want %q", tt.path, tt.location, got.StatusCode, got.Header.Get("Location"), tt.want)
		}
		if tt.want == "" && (got.StatusCode != http.StatusBadGateway || got.Header["Location"] != nil || got.Header["X-Echo"] != nil || !strings.Contains(got.body, "redirects to ")) {
			t.Errorf("%s to %s: %d %v %s", tt.path, tt.location, got.StatusCode, got.Header, got.body)
		}
		if strings.Contains(tt.location, "evil.example") && !strings.Contains(got.body, "evil.example") {
			t.Errorf("%s isn't named in %s", tt.location, got.body)
		}
	}
}

// TestOtherMethodsAndPaths: what servers may take for another method or path than the one
// that was checked doesn't go upstream.
func TestOtherMethodsAndPaths(t *testing.T) {
	var came http.Header
	up := upstream(t, func(_ http.ResponseWriter, r *http.Request) { came = r.Header })
	h := open(t, proxy.Config{Host: up.URL, AllowAPI: true})
	h.publish(t, pat.New(canary, up.URL))
	got := h.do(t, "POST", "/api/2.0/clusters/list", "{}", "X-HTTP-Method-Override", "DELETE", "X-HTTP-Method", "DELETE",
		"X-Method-Override", "DELETE", "X-Original-URL", "/api/2.0/token/create", "X-Rewrite-URL", "/api/2.0/token/create", "X-Stays", "1")
	if got.StatusCode != http.StatusOK || came.Get("X-Stays") == "" {
		t.Fatalf("%d %v", got.StatusCode, came)
	}
	for name := range came {
		if strings.HasSuffix(name, "-Override") || strings.HasSuffix(name, "-Url") || name == "X-Http-Method" {
			t.Errorf("%s came", name)
		}
	}
}
