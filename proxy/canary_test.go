package proxy_test

import (
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"patrol/proxy"
	"patrol/rotator/pat"
)

// TestEchoedToken: wherever an upstream puts the token into what it sends, it is neither
// logged, at debug level either, nor in an answer of patrol's own.
func TestEchoedToken(t *testing.T) {
	const ok = "HTTP/1.1 200 OK\r\n"
	answers := map[string]bool{ // whether the answer is the upstream's
		"HTTP/1.1 200 TOKEN\r\nContent-Length: 0\r\n\r\n": true,
		"TOKEN\r\n\r\n":                                          false,
		"HTTP/1.1 TOKEN\r\n\r\n":                                 false,
		"HTTP/1.1 200 OK\nTOKEN\n\n":                             false,
		ok + "TOKEN\r\n\r\n":                                     false,
		ok + "X: y\r\n TOKEN\r\n\r\n":                            false,
		ok + "TOKEN x: y\r\n\r\n":                                false,
		ok + "X-Echo: TOKEN\r\nContent-Length: TOKEN\r\n\r\n":    false,
		ok + "X-Echo: TOKEN\r\nTransfer-Encoding: TOKEN\r\n\r\n": false,
		ok + "X-Echo: TOKEN\r\n\r\n":                             false,
		ok + "Connection: TOKEN, close\r\n\r\n":                  true,
		"HTTP/1.1 101 TOKEN\r\nUpgrade: TOKEN\r\n\r\n":           false,
		"HTTP/1.1 302 Found\r\nLocation: https://TOKEN.example/TOKEN\r\nContent-Length: 0\r\n\r\n":                                    false,
		"HTTP/1.1 302 Found\r\nLocation: /TOKEN\r\nContent-Length: 0\r\n\r\n":                                                         false,
		"HTTP/1.1 302 Found\r\nLocation: http://%TOKEN\r\nContent-Length: 0\r\n\r\n":                                                  false,
		"HTTP/1.1 103 TOKEN\r\nTOKEN\r\n\r\n":                                                                                         false,
		ok + "Transfer-Encoding: chunked\r\n\r\nTOKEN\r\n":                                                                            true,
		ok + "Transfer-Encoding: chunked\r\n\r\n0;TOKEN=\r\nTOKEN\r\n\r\n":                                                            true,
		ok + "Content-Type: text/event-stream\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nTOKEN\r\n0\r\n\r\n": true,
	}
	for text, theirs := range answers {
		up := wire(t, func(conn net.Conn, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			_, _ = io.WriteString(conn, strings.ReplaceAll(text, "TOKEN", strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")))
		})
		h := open(t, proxy.Config{Host: up})
		h.publish(t, pat.New(canary, up))
		_, in := h.dial(t, strings.Replace(post("/v1/chat/completions", "HTTP/1.1", question), "\r\n\r\n", "\r\nConnection: close\r\n\r\n", 1))
		answer, _ := io.ReadAll(in)
		if strings.Contains(h.log.String(), canary) {
			t.Errorf("%q: the log has the token: %s", text, h.log.String())
		}
		if !theirs && (strings.Contains(string(answer), canary) || !strings.Contains(string(answer), " 502 ")) {
			t.Errorf("%q: the answer has the token, or is none of ours: %s", text, answer)
		}
	}
}

// TestTokenInRequest: a token in a path or a method isn't logged.
func TestTokenInRequest(t *testing.T) {
	h := open(t, proxy.Config{Host: "http://127.0.0.1:1"})
	h.publish(t, pat.New("x", "http://127.0.0.1:1"))
	for _, path := range []string{"/serving-endpoints/" + canary + "/invocations", "/v1beta/models/" + canary, "/" + canary, "/api/2.0/token/" + canary} {
		for _, method := range []string{"POST", canary, "TRACE"} {
			_, in := h.dial(t, method+" "+path+"?"+canary+" HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
			if answer, _ := io.ReadAll(in); len(answer) == 0 {
				t.Errorf("%s %s has no answer", method, path)
			}
		}
	}
	if log := h.log.String(); strings.Contains(log, canary) || strings.Count(log, "WARN") == 0 {
		t.Error(log)
	}
}
