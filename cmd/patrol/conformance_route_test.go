//go:build unix

package main

import (
	"net/http"
	"strings"
	"testing"
)

func routeRows() []row {
	return []row{
		{name: "each path goes where the table says", run: func(t *testing.T, f *fixture) { showRoutes(t, f, "", defaultRoutes()) }},
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

		"/openai/v1/models?a;b&%zz=1": openAI + "/models?a;b&%zz=1",

		"/v1beta/models/m:generateContent":                      gemini + "/v1beta/models/m:generateContent",
		"/v1beta/models/m%3AgenerateContent":                    gemini + "/v1beta/models/m%3AgenerateContent",
		"/v1beta/models/m:x?key=dapi123&alt=sse&monkey=1":       gemini + "/v1beta/models/m:x?alt=sse&monkey=1",
		"/gemini/v1beta/models/m:streamGenerateContent?alt=sse": gemini + "/v1beta/models/m:streamGenerateContent?alt=sse",
	}
}

func defaultRoutes() map[string]string {
	const root = "/serving-endpoints"
	routes := families(root, root, root+"/anthropic", root+"/google")
	for _, asItIs := range []string{
		root + "/m/invocations", root + "/a%20b/invocations", root + "/some.name-1/x!'()*,/y", root + "/chat/completions", root + "/anthropic/v1/messages", root + "/google/v1beta/models/m:generateContent",
		"/ai-gateway/mlflow/v1/chat/completions", "/ai-gateway/anthropic/v1/messages", "/ai-gateway/codex/v1/responses", "/ai-gateway/gemini/v1beta/models/m:x",
	} {
		routes[asItIs] = asItIs
	}
	return routes
}

// showRoutes asks for every path and wants each upstream at base, or at the
// workspace if that is "".
func showRoutes(t *testing.T, f *fixture, base string, routes map[string]string) {
	if base == "" {
		base = f.upstream.url
	}
	host := strings.TrimPrefix(strings.TrimPrefix(base, "http://"), "https://")
	n := 0
	for path, want := range routes {
		got := f.ask(t, http.MethodPost, path, question)
		a := f.arrived(t, n+1)[n]
		n++
		if a.uri != want || a.host != host {
			t.Errorf("%s: %d, came to %s%s, want %s%s", path, got.StatusCode, a.host, a.uri, host, want)
		}
	}
}

func showUpstreams(t *testing.T, f *fixture) {
	own := f.with(t, settings{chat: other + "/one/", openAI: other + "/two", anthropic: other + "/three/a", gemini: other})
	showRoutes(t, own, own.other, families("/one", "/two", "/three/a", ""))
}

func showGatewayOfWorkspace(t *testing.T, f *fixture) {
	const root = "/ai-gateway"
	showRoutes(t, f.with(t, settings{gateway: "workspace"}), "", families(root+"/mlflow/v1", root+"/codex/v1", root+"/anthropic", root+"/gemini"))
}

func showDedicatedGateway(t *testing.T, f *fixture) {
	own := f.with(t, settings{gateway: other})
	showRoutes(t, own, own.other, families("/mlflow/v1", "/openai/v1", "/anthropic", "/gemini"))
	for _, path := range []string{"/api/2.0/clusters/list", "/api/2.0/token/list"} {
		got := own.ask(t, http.MethodGet, path, "")
		if text, _ := got.message(t, databricks); got.StatusCode != http.StatusNotFound || strings.Count(text, "/api/") != 1 {
			t.Errorf("%s without --allow-api: %d %s", path, got.StatusCode, text)
		}
	}
}

func showAPI(t *testing.T, f *fixture) {
	f.handle(t, func(http.ResponseWriter, *http.Request) {})
	for _, path := range []string{
		"/api/2.0/preview/scim/v2/Me?attributes=id",
		"/api/2.0/clusters/list?x=1",
		"/api/2.1/unity-catalog/tables/main.a.tokens",
		"/api/2.1/unity-catalog/tables/main.a.t%C3%A4bel",
		"/api/2.0/fs/files/Volumes/a/b/with%20space",
		"/api/2.0/preview/sql/queries",
		"/api/1.2/contexts/status",
		"/api/2.0/secrets/get?scope=a&key=b",
		"/api/2.0/database/instances",
		"/api/2.0/permissions/authorization/tokens",
	} {
		f.forget(t)
		got := f.ask(t, http.MethodPost, path, "{}")
		if a := f.arrived(t, 1)[0]; got.StatusCode != http.StatusOK || a.uri != path {
			t.Errorf("%d %s, came as %s", got.StatusCode, got.body, a.uri)
		}
	}
}

func showUnknownPaths(t *testing.T, f *fixture) {
	for path, form := range map[string]api{
		"/nothing": openAI, "/v1/messages/": openAI, "/V1/messages": openAI, "/V1/MESSAGES": openAI, "/v1/messages/x": openAI,
		"/chat/completions/x": openAI, "/serving-endpoints": openAI, "/serving-endpoints/": openAI, "/metadata": openAI, "/favicon.ico": openAI,
		"/anthropic/v1/nothing": anthropic, "/x/v1beta/models": gemini,
	} {
		got := f.ask(t, http.MethodPost, path, question)
		text, _ := got.message(t, form)
		if got.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %d", path, got.StatusCode)
		}
		for _, route := range []string{path, " /v1/chat/completions ", "/v1/messages", "/responses", "/v1beta/", "/serving-endpoints/", "/api/"} {
			if !strings.Contains(text, route) {
				t.Errorf("%s: no word of %s in %s", path, route, text)
			}
		}
	}
	f.arrived(t, 0)
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
func (f *fixture) wantRefused(t *testing.T, targets []string) {
	t.Helper()
	for _, target := range targets {
		for _, method := range []string{"POST", "GET", "OPTIONS", "PUT", "CONNECT"} {
			got := f.raw(t, method+" "+target+" HTTP/1.1\r\nHost: localhost\r\nROW\r\nContent-Length: 2\r\n\r\n{}")
			if got.StatusCode < 400 || got.StatusCode > 404 {
				t.Errorf("%s %q: %d %s", method, target, got.StatusCode, got.body)
			}
		}
	}
	f.arrived(t, 0)
}

func showTokenAPI(t *testing.T, f *fixture) {
	f.wantRefused(t, []string{
		"/api/2.0/token/create", "/api/2.0/token/list", "/api/2.0/token/delete?x=1", "/api/2.0/token", "/api/2.0/token/",
		"/api/2.0/tokens/create", "/api/2.1/token/create", "/api/2.1/tokens", "/api/3/token/x", "/api/2.0/token-management/tokens",
		"/api/2.0/token-management/on-behalf-of/tokens", "/api/2.0/preview/token/create", "/api/2.0/preview/preview/token-management/tokens",
		"/api/2.0/Token/create", "/api/2.0/TOKEN/create", "/API/2.0/token/create", "/api/2.0/preVIEW/token/create", "/aPi/2.0/clusters/list",
		"/api/2.0/%74oken/create", "/api/2.0/tok%65n/create", "/api/2.0%2ftoken/create", "/api/2.0%2Ftoken%2Fcreate", "/api%2f2.0/token/create",
		"/%61pi/2.0/token/create", "/api/2%2e0/token/create", "/api/2.0/%2574oken/create", "/api/2.0%252ftoken/create", "/api/%252e%252e/api/2.0/token/create",
		"//api/2.0/token/create", "/api//2.0/token/create", "/api/2.0//token/create", "/api/2.0///token/create", "/api/2.0/./token/create", "/./api/2.0/token/create",
		"/serving%2Dendpoints/foo/invocations", "/ai-gateway/%6Dlflow/v1/x", "/api/2.0/clusters/../token/create", "/api/2.0/clusters/%2e%2e/token/create", "/api/2.0/clusters/.%2E/token/create",
		"/api/2.0/clusters/..%2ftoken/create", "/api/2.0/clusters/..;/token/create", "/api/2.0/clusters/..%3b/token/create", "/api/2.0/clusters;x=1/../token/create",
		`/api\2.0\token\create`, `/api/2.0\token/create`, "/api/2.0%5ctoken/create", `/api/2.0/clusters/..\token\create`,
		"/api/2.0/token%20/create", "/api/2.0/%20token/create", "/api/2.0/token%00/create", "/api/2.0/%00token/create", "/api/2.0/%09token/create", "/api/2.0/token%0d%0a/create",
		"/api/2.0/token;x/create", "/api/2.0/token%3bx/create", "/api/2.0/.token/create", "/api/2.0/.../token/create", "/api/2.0/clusters/%c0%ae%c0%ae/token/create",
		"/api/2.0/clusters/%ef%bc%8e%ef%bc%8e/token/create", "/api/2.0%ef%bc%8ftoken/create", "/api/2.0/%ef%bd%94oken/create", "/api/2.0/to%cc%80ken/create",
		"/api/2.0/token%2", "/api/2.0/token%", "/api/2.0/token%zz", "/api/2.0/token#x", "/api/2.0/?/../token/create/../", "/api/x/token/create", "/api/latest/token/create",
		"/api/token/create", "/api/2.0/", "/api/2.0", "/api/", "/api/v2.0/token/create", "/api/%32.0/token/create", "/api/2.0/Token-Management/x",
		"/api/2.0/git-credentials", "/api/2.0/git-credentials/1", "/api/2.0/Database/Credentials", "/api/2.0/postgres/credentials", "/api/2.0/oauth2/x", "/api/2.0/accounts/a/oauth2/token",
		"/api/2.0/accounts/servicePrincipals/1/credentials/secrets", "/api/2.0/preview/servicePrincipals/1/credentials/secrets", "/api/2.0/unity-catalog/temporary-table-credentials",
		"/api/2.1/unity-catalog/temporary-path-credentials", "/api/2.1/unity-catalog/Temporary-Service-Credentials", "/api/2.0//git-credentials", "/api/2.0/git%2Dcredentials", "/api/2.0/./database/credentials",
		"/api/2.0/to%6ben/create", "/api/2.0/to%E2%84%AAen/create", "/api/2.0/;a=b/token/create", "/api/2.0 /token/create", "/API/2.0/clusters/list",
	})
}

func showTokenAPIThroughRoutes(t *testing.T, f *fixture) {
	var targets []string
	for _, up := range []string{"..", "%2e%2e", "%2E.", "..;", "%252e%252e", `..\..`, "%5c..", ".%00."} {
		for _, route := range []string{"/serving-endpoints/", "/serving-endpoints/m/", "/ai-gateway/", "/ai-gateway/gemini/", "/v1beta/", "/gemini/v1beta/models/", "/"} {
			targets = append(targets, route+strings.Repeat(up+"/", 4)+"api/2.0/token/create", route+strings.Repeat(up+"%2f", 4)+"api/2.0/token/create")
		}
	}
	for _, rest := range []string{
		"../api/2.0/token/create", "%25%32%65%25%32%65/api/2.0/token/create", "..;x=y/api/2.0/token/create", "..%3b/api/2.0/token/create",
		`..\api\2.0\token\create`, "./../api/2.0/token/create", "%20../api/2.0/token/create", "..%20/api/2.0/token/create", "..%00/api/2.0/token/create",
		"..%09/api/2.0/token/create", "..%0d%0a/api/2.0/token/create", "..%3f/api/2.0/token/create", "..%23/api/2.0/token/create", "..#/api/2.0/token/create",
		"\xc0\xae\xc0\xae/api/2.0/token/create", "%c0%ae%c0%ae/api/2.0/token/create", "%ef%bc%8e%ef%bc%8e%ef%bc%8fapi/2.0/token/create", "%e2%80%a4%e2%80%a4/api/2.0/token/create",
		"/../../api/2.0/token/create", "/x",
	} {
		targets = append(targets, "/serving-endpoints/"+rest)
	}
	f.wantRefused(t, append(targets,
		"/serving-endpoints%2f..%2fapi/2.0/token/create", `/serving-endpoints\..\api\2.0\token\create`, "//serving-endpoints/x", "/v1//messages",
		"//evil.example/v1/messages", "/v1/%6dessages", "/%76%31/messages"))
}

func showOtherTargets(t *testing.T, f *fixture) {
	own := strings.TrimPrefix(f.url, "http://")
	for _, request := range []string{
		"POST HTTP://evil.example/v1/messages HTTP/1.1\r\nHost: localhost\r\n",
		"POST ftp://evil.example/v1/messages HTTP/1.1\r\nHost: localhost\r\n",
		"GET evil.example:443 HTTP/1.1\r\nHost: localhost\r\n",
		"GET * HTTP/1.1\r\nHost: localhost\r\n",
		"POST \\v1\\messages HTTP/1.1\r\nHost: localhost\r\n",
		"POST /v1/messages HTTP/3.0\r\nHost: localhost\r\n",
		"POST http://evil.example/v1/messages HTTP/1.1\r\nHost: localhost\r\n",
		"POST http://evil.example/v1/messages HTTP/1.1\r\nHost: evil.example\r\n",
		"POST " + f.url + "/v1/messages HTTP/1.1\r\nHost: " + own + "\r\n",
		"POST " + f.upstream.url + "/api/2.0/token/create HTTP/1.1\r\nHost: localhost\r\n",
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
		got := f.raw(t, request+"ROW\r\nContent-Length: 2\r\n\r\n{}")
		if got.StatusCode/100 != 4 && got.StatusCode != http.StatusHTTPVersionNotSupported {
			t.Errorf("%q: %d %s", request, got.StatusCode, got.body)
		}
	}
	f.arrived(t, 0)
}

func showAmbiguous(t *testing.T, f *fixture) {
	const start = "POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nROW\r\n"
	for _, rest := range []string{
		"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
		"Content-Length: 2, 3\r\n\r\n{}",
		"Content-Length: +2\r\n\r\n{}",
		"Content-Length : 2\r\n\r\n{}",
		"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
		"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
		" Folded: x\r\n\r\n",
		"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
		"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
		"X-Bad\x00: 1\r\n\r\n",
		"X-Bad: a\x00b\r\n\r\n",
		"X Bad: 1\r\n\r\n",
	} {
		if got := f.raw(t, start+rest); got.StatusCode/100 != 4 && got.StatusCode != http.StatusNotImplemented {
			t.Errorf("%q: %d %s", rest, got.StatusCode, got.body)
		}
	}
	f.arrived(t, 0)
	// The chunks count, by RFC 9112, and upstream is told their length alone.
	got := f.raw(t, start+"Content-Length: 5\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n2\r\n{}\r\n0\r\n\r\n")
	if a := f.arrived(t, 1)[0]; a.body != "{}" || a.header["Transfer-Encoding"] != nil || len(a.header["Content-Length"]) > 1 {
		t.Errorf("%d %s, came with %v and %q", got.StatusCode, got.body, a.header, a.body)
	}
}
