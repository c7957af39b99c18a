package proxy_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"patrol/proxy"
	"patrol/rotator/pat"
)

// TestUpstreamSendsTokenBack: an upstream whose broken answer holds what it was sent
// doesn't bring the token into a log, the server's included, nor into patrol's own
// answer, which has none of its fields.
func TestUpstreamSendsTokenBack(t *testing.T) {
	const broken, cut = http.StatusBadGateway, http.StatusOK // what comes after a whole head is cut
	for _, tt := range []struct {
		answer string
		status int
	}{
		{"%s\r\n\r\n", broken},
		{"HTTP/1.1 %s\r\n\r\n", broken},
		{"HTTP/1.1 200 OK\r\n%s\r\n\r\n", broken},
		{"HTTP/1.1 200 OK\r\nContent-Length: %s\r\n\r\n", broken},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: %s\r\n\r\n", broken},
		{"HTTP/1.1 200 OK\r\nX-Echo: %[1]s\r\nX-Echo: 2\r\nSet-Cookie: %[1]s\r\nno field\r\n\r\n", broken},
		{"HTTP/1.1 200 OK\r\nX-Echo: %s\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", broken},
		{"HTTP/1.1 200 OK\r\nX-Echo: %s\r\nX-E", broken},
		{"HTTP/1.1 200 OK\r\nX-Echo: %s\r\n\r\n", broken}, // nothing says how long it is
		{"HTTP/1.1 103 Early Hints\r\nX-Hint: 1\r\n\r\nHTTP/1.1 200 OK\r\nX-Echo: %s\r\nno field\r\n\r\n", broken},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%s\r\n", cut},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n%s\r\n\r\n", cut},
	} {
		url := wire(t, func(conn net.Conn, _ *http.Request) {
			_, _ = fmt.Fprintf(conn, tt.answer, "Bearer "+canary)
		})
		h := open(t, proxy.Config{Host: url})
		h.publish(t, pat.New(canary, url))
		var all bytes.Buffer
		conn, _ := h.dial(t, post("/v1/messages", "HTTP/1.1", "{}"))
		in := bufio.NewReader(io.TeeReader(conn, &all))
		res, err := http.ReadResponse(in, nil)
		for err == nil && res.StatusCode < 200 {
			res, err = http.ReadResponse(in, nil)
		}
		switch {
		case err != nil && tt.status == cut: // not even the head has passed
		case err != nil || res.StatusCode != tt.status || res.Header["X-Echo"] != nil || res.Header["X-Hint"] != nil || res.Header["Set-Cookie"] != nil:
			t.Errorf("%q: %+v, %v", tt.answer, res, err)
		default:
			if _, err := io.ReadAll(res.Body); (err != nil) != (tt.status == cut) {
				t.Errorf("%q: the body ends with %v", tt.answer, err)
			}
		}
		if log := h.log.String(); strings.Contains(log, canary) || strings.Contains(all.String(), canary) {
			t.Errorf("%q: the answer is %q, the log:\n%s", tt.answer, &all, log)
		}
	}
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
