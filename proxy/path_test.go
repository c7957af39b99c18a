package proxy_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"patrol/proxy"
	"patrol/rotator/workspacetest"
)

// raw writes bytes to the proxy's socket and returns the status of its answer,
// 0 if it closed the connection instead.
func (h *house) raw(t testing.TB, request string) (status int, body string) {
	t.Helper()
	conn, err := net.Dial("tcp", h.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	method, _, _ := strings.Cut(request, " ")
	res, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		return 0, ""
	}
	defer func() { _ = res.Body.Close() }()
	got, _ := io.ReadAll(res.Body)
	return res.StatusCode, string(got)
}

// TestPathsThatLeaveTheirRoute tries what would reach the token API, or
// another host, with the user's rights. The workspace resolves paths as
// carelessly as any front end might.
func TestPathsThatLeaveTheirRoute(t *testing.T) {
	ws := workspace(t, workspacetest.Config{})
	h := open(t, proxy.Config{Host: ws.URL})
	h.publish(t, issue(ws))
	for _, target := range []string{
		"/../../api/2.0/token/create",
		"/serving-endpoints/../api/2.0/token/create",
		"/serving-endpoints/x/../../api/2.0/token/create",
		"/serving-endpoints/%2e%2e/api/2.0/token/create",
		"/serving-endpoints/%2E%2E/api/2.0/token/create",
		"/serving-endpoints/.%2e/api/2.0/token/create",
		"/serving-endpoints/..%2fapi/2.0/token/create",
		"/serving-endpoints/..%2Fapi/2.0/token/create",
		"/serving-endpoints%2f..%2fapi/2.0/token/create",
		"/serving-endpoints/%252e%252e/api/2.0/token/create",
		"/serving-endpoints/%25%32%65%25%32%65/api/2.0/token/create",
		"/serving-endpoints/..;/api/2.0/token/create",
		"/serving-endpoints/..;x=y/api/2.0/token/create",
		"/serving-endpoints/..%3b/api/2.0/token/create",
		`/serving-endpoints/..\api\2.0\token\create`,
		`/serving-endpoints\..\api\2.0\token\create`,
		"/serving-endpoints/..%5capi/2.0/token/create",
		"/serving-endpoints/./../api/2.0/token/create",
		"/serving-endpoints/%20../api/2.0/token/create",
		"/serving-endpoints/..%20/api/2.0/token/create",
		"/serving-endpoints/..%00/api/2.0/token/create",
		"/serving-endpoints/..%09/api/2.0/token/create",
		"/serving-endpoints/..%0d%0a/api/2.0/token/create",
		"/serving-endpoints/..%3f/api/2.0/token/create",
		"/serving-endpoints/..%23/api/2.0/token/create",
		"/serving-endpoints/..#/api/2.0/token/create",
		"/serving-endpoints/\xc0\xae\xc0\xae/api/2.0/token/create",
		"/serving-endpoints/%c0%ae%c0%ae/api/2.0/token/create",
		"/serving-endpoints/%ef%bc%8e%ef%bc%8e/api/2.0/token/create",         // ．．
		"/serving-endpoints/%ef%bc%8e%ef%bc%8e%ef%bc%8fapi/2.0/token/create", // ．．／
		"/serving-endpoints/%e2%80%a4%e2%80%a4/api/2.0/token/create",         // ․․
		"/serving-endpoints//../../api/2.0/token/create",
		"//api/2.0/token/create",
		"/serving-endpoints//x",
		"//serving-endpoints/x",
		"/v1//messages",
		"//evil.example/v1/messages",
		"/v1/%6dessages",
		"/%76%31/messages",
		"/api/2.0/token/create",
		"/API/2.0/token/create",
		"/api/2.0/Token/create",
		"/api/2.1/token/create",
		"/api/2.0/token-management/on-behalf-of/tokens",
		"http://evil.example/v1/messages",
		"http://127.0.0.1/v1/messages",
		"https://evil.example:443/v1/messages",
		"HTTP://evil.example/v1/messages",
		"ftp://evil.example/v1/messages",
		"evil.example:443",
		"*",
		"v1/messages",
		"?x",
		"\\v1\\messages",
	} {
		for _, method := range []string{"POST", "GET", "OPTIONS", "CONNECT"} {
			request := method + " " + target + " HTTP/1.1\r\nHost: " + h.addr + "\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"
			if status, body := h.raw(t, request); status != 400 && status != 404 {
				t.Errorf("%s %s: %d %s", method, target, status, body)
			}
		}
	}
	for _, request := range []string{
		"CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n\r\n",
		"CONNECT /v1/messages HTTP/1.1\r\nHost: evil.example:443\r\n\r\n",
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
		"POST /v1/messages HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}",                                      // no Host
		"POST /v1/messages HTTP/1.1\r\nHost: a\r\nHost: b\r\nContent-Length: 2\r\n\r\n{}",                // two
		"POST /v1/messages HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",      // smuggling
		"POST /v1/messages HTTP/1.1\r\nHost: a\r\nContent-Length : 2\r\n\r\n{}",                          //
		"POST /v1/messages HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", //
		"POST /v1/messages HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",          //
		"POST /v1/messages HTTP/1.1\r\nHost: a\r\n Folded: x\r\n\r\n",                                    //
		"POST /v1/messages HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n\r\n",                                     //
		"POST /v1/messages HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("x", 128<<10) + "\r\n\r\n",       // too much of it
		"POST /v1/messages HTTP/3.0\r\nHost: a\r\n\r\n",                                                  //
		"GET /" + strings.Repeat("x", 128<<10) + " HTTP/1.1\r\nHost: a\r\n\r\n",                          //
	} {
		if status, body := h.raw(t, request); status != 0 && (status < 400 || status >= 500) && status != 501 && status != 505 {
			t.Errorf("%.60q: %d %s", request, status, body)
		}
	}
	if got := ws.Requests(); len(got) != 0 {
		t.Errorf("%d requests reached the workspace, the first: %s %s", len(got), got[0].Method, got[0].Path)
	}
	if live := ws.Live(); len(live) != 1 {
		t.Errorf("%d tokens live", len(live))
	}
}
