package proxy_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"patrol/proxy"
	"patrol/rotator/pat"
)

// TestUpstreamSendsTokenBack: an upstream whose broken answer holds what it was
// sent doesn't bring the token into the log, nor into patrol's own answer.
func TestUpstreamSendsTokenBack(t *testing.T) {
	for _, broken := range []string{
		"%s\r\n\r\n",
		"HTTP/1.1 %s\r\n\r\n",
		"HTTP/1.1 200 OK\r\n%s\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: %s\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: %s\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%s\r\n",
	} {
		url := rawUpstream(t, fmt.Sprintf(broken, "Bearer "+canary))
		h := open(t, proxy.Config{Host: url})
		h.publish(t, pat.New(canary, url))
		var body []byte
		if res, err := h.client.Post(h.url+"/v1/messages", "application/json", strings.NewReader(`{}`)); err == nil {
			body, err = io.ReadAll(res.Body)
			_ = res.Body.Close()
			// A whole head may have passed before its body was read: then the body is cut.
			if cut := res.StatusCode == http.StatusOK && err != nil; res.StatusCode != http.StatusBadGateway && !cut {
				t.Errorf("%q: %d %s", broken, res.StatusCode, body)
			}
		}
		if log := h.log.String(); strings.Contains(log, canary) || strings.Contains(string(body), canary) {
			t.Errorf("%q: the answer is %q, the log:\n%s", broken, body, log)
		}
	}
}

// rawUpstream answers each request with these bytes and closes.
func rawUpstream(t *testing.T, answer string) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			if _, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
				_, _ = conn.Write([]byte(answer))
			}
			_ = conn.Close()
		}
	}()
	return "http://" + ln.Addr().String()
}

// TestNoTokenLogIsLimited: agents that try again and again don't fill a disk.
func TestNoTokenLogIsLimited(t *testing.T) {
	h := open(t, proxy.Config{Host: "https://w.example", Wait: -1})
	for range 100 {
		if got := h.do(t, "POST", "/v1/messages", `{}`); got.StatusCode != http.StatusServiceUnavailable {
			t.Fatal(got.StatusCode)
		}
	}
	if n := strings.Count(h.log.String(), "request refused"); n == 0 || n > 20 {
		t.Errorf("100 requests without a token made %d lines", n)
	}
}

// TestRefusedTargetForm: who asks in a form that patrol refuses is answered as
// its agent reads errors.
func TestRefusedTargetForm(t *testing.T) {
	h := open(t, proxy.Config{Host: "https://w.example", AllowAPI: true})
	for path, form := range map[string]string{
		"/api/2.0/%74oken/list":                 "databricks",
		"/anthropic/v1/%6dessages":              "anthropic",
		"/v1beta/models/M%3AgenerateContent%00": "gemini",
	} {
		got := h.do(t, "GET", path, "")
		if msg := message(t, form, got); got.StatusCode != http.StatusBadRequest || msg == "" {
			t.Errorf("%s: %d %s", path, got.StatusCode, got.body)
		}
	}
}
