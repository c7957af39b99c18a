package proxy_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"patrol/proxy"
	"patrol/rotator/pat"
)

// TestAnswerOfOurOwn: where a refusal is replaced by an answer of patrol's own, nothing of
// the refusal is in it.
func TestAnswerOfOurOwn(t *testing.T) {
	up := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Encoding", "identity")
		w.Header().Set("X-Echo", r.Header.Get("Authorization"))
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w, `{"error_code":403,"message":"Invalid access token."}`)
	})
	h := open(t, proxy.Config{Host: up.URL, Wait: 50 * time.Millisecond, Refused: func(ctx context.Context, _ pat.Token) (pat.Token, bool) {
		<-ctx.Done()
		return pat.Token{}, false
	}})
	h.publish(t, pat.New(canary, up.URL))
	res, err := h.client.Post(h.url+"/v1/messages", "application/json", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusServiceUnavailable || res.Header["X-Echo"] != nil || res.Header["Content-Encoding"] != nil {
		t.Errorf("%d %v", res.StatusCode, res.Header)
	}
}

// TestSentThreeTimesAtMost: what gets no byte of an answer is sent over a connection that
// was kept, over a new one instead, and once more because that has died too: also where
// more connections are kept.
func TestSentThreeTimesAtMost(t *testing.T) {
	const kept = 5
	var sent atomic.Int32
	var together sync.WaitGroup
	together.Add(kept)
	up := wire(t, func(conn net.Conn, r *http.Request) {
		if r.ContentLength > 2 {
			sent.Add(1)
			return
		}
		_, _ = io.Copy(io.Discard, r.Body)
		together.Done()
		together.Wait()
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		if _, err := http.ReadRequest(bufio.NewReader(conn)); err == nil { // and is gone with it
			sent.Add(1)
		}
	})
	h := open(t, proxy.Config{Host: up})
	h.publish(t, pat.New(canary, up))
	var asking sync.WaitGroup
	for range kept {
		asking.Go(func() {
			if res, err := h.client.Post(h.url+"/v1/messages", "", strings.NewReader("{}")); err != nil || res.Body.Close() != nil {
				t.Errorf("%v", err)
			}
		})
	}
	asking.Wait()
	res, err := h.client.Post(h.url+"/v1/messages", "", strings.NewReader(`{"a":1}`))
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if n := sent.Load(); n != 3 || res.StatusCode != http.StatusBadGateway {
		t.Errorf("sent %d times, and %d", n, res.StatusCode)
	}
}

// TestBadTrailer: what a client sends after its body isn't logged.
func TestBadTrailer(t *testing.T) {
	up := upstream(t, func(http.ResponseWriter, *http.Request) {})
	h := open(t, proxy.Config{Host: up.URL})
	h.publish(t, pat.New(canary, up.URL))
	_, in := h.dial(t, "POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n2\r\n{}\r\n0\r\n"+canary+"\r\n\r\n")
	answer, _ := io.ReadAll(in)
	if !strings.Contains(string(answer), " 400 ") || strings.Contains(string(answer)+h.log.String(), canary) {
		t.Errorf("%s\n%s", answer, h.log.String())
	}
}
