//go:build unix

package main

import (
	"net/http"
	"strings"
	"testing"
)

func routeRows() []row {
	return []row{
		{name: "each path goes where the table says", run: func(t *testing.T, r *rig) { showRoutes(t, r, "", defaultRoutes()) }},
		{name: "--upstream, --anthropic-upstream, --openai-upstream, --gemini-upstream", run: showUpstreams},
		{name: "--gateway workspace", run: showGatewayOfWorkspace},
		{name: "--gateway with a dedicated host", run: showDedicatedGateway},
		{name: "--allow-api serves /api", run: showAPI},
		{name: "an unknown path gets 404 with the list of routes", run: showUnknownPaths},
	}
}

// families is each path of the four upstreams that can be moved, and what is
// asked of each base.
func families(chat, openAI, anthropic, gemini string) map[string]string {
	return map[string]string{
		"/chat/completions": chat + "/chat/completions", "/v1/chat/completions": chat + "/chat/completions",
		"/completions": chat + "/completions", "/v1/completions": chat + "/completions",
		"/embeddings": chat + "/embeddings", "/v1/embeddings": chat + "/embeddings",

		"/responses": openAI + "/responses", "/v1/responses": openAI + "/responses", "/openai/v1/responses": openAI + "/responses",
		"/v1/models": openAI + "/models", "/openai/v1/models": openAI + "/models",
		"/v1/models?client_version=1": openAI + "/models?client_version=1",

		"/v1/messages": anthropic + "/v1/messages", "/anthropic/v1/messages": anthropic + "/v1/messages",
		"/v1/messages?beta=true":    anthropic + "/v1/messages?beta=true",
		"/v1/messages/count_tokens": anthropic + "/v1/messages/count_tokens", "/anthropic/v1/messages/count_tokens": anthropic + "/v1/messages/count_tokens",

		"/v1beta/models/m:generateContent":                      gemini + "/v1beta/models/m:generateContent",
		"/gemini/v1beta/models/m:streamGenerateContent?alt=sse": gemini + "/v1beta/models/m:streamGenerateContent?alt=sse",
	}
}

func defaultRoutes() map[string]string {
	const root = "/serving-endpoints"
	routes := families(root, root, root+"/anthropic", root+"/google")
	for _, asItIs := range []string{
		root + "/m/invocations", root + "/chat/completions", root + "/anthropic/v1/messages", root + "/google/v1beta/models/m:generateContent",
		"/ai-gateway/mlflow/v1/chat/completions", "/ai-gateway/anthropic/v1/messages", "/ai-gateway/codex/v1/responses", "/ai-gateway/gemini/v1beta/models/m:x",
	} {
		routes[asItIs] = asItIs
	}
	return routes
}

// showRoutes asks for every path and wants each upstream at base, or at the
// workspace if that is "".
func showRoutes(t *testing.T, r *rig, base string, routes map[string]string) {
	if base == "" {
		base = r.ws.URL
	}
	host := strings.TrimPrefix(strings.TrimPrefix(base, "http://"), "https://")
	n := 0
	for path, want := range routes {
		got := r.ask(t, http.MethodPost, path, question)
		a := r.arrived(t, n+1)[n]
		n++
		if a.uri != want || a.host != host {
			t.Errorf("%s: %d, came to %s%s, want %s%s", path, got.StatusCode, a.host, a.uri, host, want)
		}
	}
}

func showUpstreams(t *testing.T, r *rig) {
	own := newRig(t, r.wire)
	own.serve(t, "--upstream", own.other+"/one/", "--openai-upstream", own.other+"/two", "--anthropic-upstream", own.other+"/three/a", "--gemini-upstream", own.other)
	showRoutes(t, own, own.other, families("/one", "/two", "/three/a", ""))
}

func showGatewayOfWorkspace(t *testing.T, r *rig) {
	own := newRig(t, r.wire)
	own.serve(t, "--gateway", "workspace")
	const root = "/ai-gateway"
	showRoutes(t, own, "", families(root+"/mlflow/v1", root+"/codex/v1", root+"/anthropic", root+"/gemini"))
}

func showDedicatedGateway(t *testing.T, r *rig) {
	own := newRig(t, r.wire)
	own.serve(t, "--gateway", own.other)
	showRoutes(t, own, own.other, families("/mlflow/v1", "/openai/v1", "/anthropic", "/gemini"))
	for _, path := range []string{"/api/2.0/clusters/list", "/api/2.0/token/list"} {
		got := own.ask(t, http.MethodGet, path, "")
		if got.StatusCode != http.StatusNotFound || strings.Count(got.body, "/api/") != 1 {
			t.Errorf("%s without --allow-api: %d %s", path, got.StatusCode, got.body)
		}
	}
}

func showAPI(t *testing.T, r *rig) {
	got := r.ask(t, http.MethodGet, "/api/2.0/preview/scim/v2/Me?attributes=id", "")
	if a := r.arrived(t, 1)[0]; got.StatusCode != http.StatusOK || a.uri != "/api/2.0/preview/scim/v2/Me?attributes=id" {
		t.Errorf("%d %s, came as %s", got.StatusCode, got.body, a.uri)
	}
}

func showUnknownPaths(t *testing.T, r *rig) {
	for _, path := range []string{"/nothing", "/v1/messages/", "/V1/messages", "/v1/messages/x", "/serving-endpoints", "/serving-endpoints/", "/metadata", "/favicon.ico"} {
		got := r.ask(t, http.MethodPost, path, question)
		if got.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %d", path, got.StatusCode)
		}
		for _, route := range []string{path, "/v1/chat/completions", "/v1/messages", "/responses", "/v1beta/", "/serving-endpoints/", "/api/"} {
			if !strings.Contains(got.body, route) {
				t.Errorf("%s: no word of %s in %s", path, route, got.body)
			}
		}
	}
	r.arrived(t, 0)
}

func refusedPathRows() []row {
	return []row{
		{name: "the token API is refused, however it is spelled", run: showTokenAPI},
		{name: "the token API is refused, through every route", run: showTokenAPIThroughRoutes},
		{name: "absolute-form targets and CONNECT are refused", run: showOtherTargets},
		{name: "a request whose end or header could be read in two ways is refused", run: showAmbiguous},
	}
}

// wantRefused sends requests for these targets, and wants each refused by patrol
// itself.
func (r *rig) wantRefused(t *testing.T, targets []string) {
	t.Helper()
	for _, target := range targets {
		for _, method := range []string{"POST", "GET"} {
			got := r.raw(t, method+" "+target+" HTTP/1.1\r\nHost: localhost\r\nROW\r\nContent-Length: 2\r\n\r\n{}")
			if got.StatusCode/100 != 4 {
				t.Errorf("%s %q: %d %s", method, target, got.StatusCode, got.body)
			}
		}
	}
	r.arrived(t, 0)
}

func showTokenAPI(t *testing.T, r *rig) {
	r.wantRefused(t, []string{
		"/api/2.0/token/create", "/api/2.0/token/list", "/api/2.0/token/delete?x=1", "/api/2.0/token", "/api/2.0/token/",
		"/api/2.0/tokens/create", "/api/2.1/token/create", "/api/2.1/tokens", "/api/3/token/x", "/api/2.0/token-management/tokens",
		"/api/2.0/token-management/on-behalf-of/tokens", "/api/2.0/preview/token/create", "/api/2.0/preview/preview/token-management/tokens",
		"/api/2.0/Token/create", "/api/2.0/TOKEN/create", "/API/2.0/token/create", "/api/2.0/preVIEW/token/create", "/aPi/2.0/clusters/list",
		"/api/2.0/%74oken/create", "/api/2.0/tok%65n/create", "/api/2.0%2ftoken/create", "/api/2.0%2Ftoken%2Fcreate", "/api%2f2.0/token/create",
		"/%61pi/2.0/token/create", "/api/2%2e0/token/create", "/api/2.0/%2574oken/create", "/api/2.0%252ftoken/create", "/api/%252e%252e/api/2.0/token/create",
		"//api/2.0/token/create", "/api//2.0/token/create", "/api/2.0//token/create", "/api/2.0///token/create", "/api/2.0/./token/create", "/./api/2.0/token/create",
		"/api/2.0/clusters/../token/create", "/api/2.0/clusters/%2e%2e/token/create", "/api/2.0/clusters/.%2E/token/create",
		"/api/2.0/clusters/..%2ftoken/create", "/api/2.0/clusters/..;/token/create", "/api/2.0/clusters/..%3b/token/create", "/api/2.0/clusters;x=1/../token/create",
		`/api\2.0\token\create`, `/api/2.0\token/create`, "/api/2.0%5ctoken/create", `/api/2.0/clusters/..\token\create`,
		"/api/2.0/token%20/create", "/api/2.0/%20token/create", "/api/2.0/token%00/create", "/api/2.0/%00token/create", "/api/2.0/%09token/create", "/api/2.0/token%0d%0a/create",
		"/api/2.0/token;x/create", "/api/2.0/token%3bx/create", "/api/2.0/.token/create", "/api/2.0/.../token/create", "/api/2.0/clusters/%c0%ae%c0%ae/token/create",
		"/api/2.0/clusters/%ef%bc%8e%ef%bc%8e/token/create", "/api/2.0%ef%bc%8ftoken/create", "/api/2.0/%ef%bd%94oken/create", "/api/2.0/to%cc%80ken/create",
		"/api/2.0/token%2", "/api/2.0/token%", "/api/2.0/token%zz", "/api/2.0/token#x", "/api/2.0/?/../token/create/../", "/api/x/token/create", "/api/latest/token/create",
	})
}

func showTokenAPIThroughRoutes(t *testing.T, r *rig) {
	var targets []string
	for _, up := range []string{"..", "%2e%2e", "%2E.", "..;", "%252e%252e", `..\..`, "%5c..", ".%00."} {
		for _, route := range []string{"/serving-endpoints/", "/serving-endpoints/m/", "/ai-gateway/", "/ai-gateway/gemini/", "/v1beta/", "/gemini/v1beta/models/", "/"} {
			targets = append(targets, route+strings.Repeat(up+"/", 4)+"api/2.0/token/create", route+strings.Repeat(up+"%2f", 4)+"api/2.0/token/create")
		}
	}
	r.wantRefused(t, targets)
}

func showOtherTargets(t *testing.T, r *rig) {
	own := strings.TrimPrefix(r.proxy, "http://")
	for _, request := range []string{
		"POST http://evil.example/v1/messages HTTP/1.1\r\nHost: localhost\r\n",
		"POST http://evil.example/v1/messages HTTP/1.1\r\nHost: evil.example\r\n",
		"POST " + r.proxy + "/v1/messages HTTP/1.1\r\nHost: " + own + "\r\n",
		"POST " + r.ws.URL + "/api/2.0/token/create HTTP/1.1\r\nHost: localhost\r\n",
		"POST https://localhost/v1/messages HTTP/1.1\r\nHost: localhost\r\n",
		"POST //evil.example/v1/messages HTTP/1.1\r\nHost: localhost\r\n",
		"CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n",
		"CONNECT localhost:443 HTTP/1.1\r\nHost: localhost:443\r\n",
		"CONNECT /v1/messages HTTP/1.1\r\nHost: localhost\r\n",
		"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n",
		"POST v1/messages HTTP/1.1\r\nHost: localhost\r\n",
		"POST ?x HTTP/1.1\r\nHost: localhost\r\n",
		"PRI * HTTP/2.0\r\n",
	} {
		got := r.raw(t, request+"ROW\r\nContent-Length: 2\r\n\r\n{}")
		if got.StatusCode/100 != 4 && got.StatusCode != http.StatusHTTPVersionNotSupported {
			t.Errorf("%q: %d %s", request, got.StatusCode, got.body)
		}
	}
	r.arrived(t, 0)
}

func showAmbiguous(t *testing.T, r *rig) {
	const start = "POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nROW\r\n"
	for _, rest := range []string{
		"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
		"Content-Length: 2, 3\r\n\r\n{}",
		"Content-Length: +2\r\n\r\n{}",
		"Content-Length : 2\r\n\r\n{}",
		"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
		"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
		"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
		"X-Bad\x00: 1\r\n\r\n",
		"X-Bad: a\x00b\r\n\r\n",
		"X Bad: 1\r\n\r\n",
	} {
		if got := r.raw(t, start+rest); got.StatusCode/100 != 4 && got.StatusCode != http.StatusNotImplemented {
			t.Errorf("%q: %d %s", rest, got.StatusCode, got.body)
		}
	}
	r.arrived(t, 0)
	// The chunks count, by RFC 9112, and upstream is told their length alone.
	got := r.raw(t, start+"Content-Length: 5\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n2\r\n{}\r\n0\r\n\r\n")
	if a := r.arrived(t, 1)[0]; a.body != "{}" || a.header["Transfer-Encoding"] != nil || len(a.header["Content-Length"]) > 1 {
		t.Errorf("%d %s, came with %v and %q", got.StatusCode, got.body, a.header, a.body)
	}
}
