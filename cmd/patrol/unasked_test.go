package main

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"patrol/rotator/workspacetest"
)

// TestUnaskedAnswer: an upstream that sends more than it was asked for, the token
// among it, gets none of that into the log or onto stderr.
func TestUnaskedAnswer(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	svc := newTestService(t, workspacetest.Config{})
	svc.serve(t, "--upstream", "http://"+ln.Addr().String())
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		resp, err := http.Post(svc.proxy+"/v1/chat/completions", "application/json", strings.NewReader("{}"))
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
	}()
	conn, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	in := bufio.NewReader(conn)
	req, err := http.ReadRequest(in)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, req.Body)
	const answer = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
	if _, err := io.WriteString(conn, answer); err != nil {
		t.Fatal(err)
	}
	<-answered
	token := req.Header.Get("Authorization")
	if _, err := io.WriteString(conn, "HTTP/1.1 400 "+token+"\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, in) // patrol drops the connection once it has told
	svc.stop(t)
	if out := svc.log.String(); !strings.HasPrefix(token, "Bearer ") || strings.Contains(out, token) {
		t.Errorf("%q was sent, and patrol wrote:\n%s", token, out)
	}
}
