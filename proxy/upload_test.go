package proxy_test

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"patrol/proxy"
)

// read reads an answer to its end.
func read(t *testing.T, in *bufio.Reader) reply {
	t.Helper()
	res, err := http.ReadResponse(in, nil)
	if err != nil {
		t.Fatalf("reading an answer: %v", err)
	}
	got, err := io.ReadAll(res.Body)
	return reply{res, string(got), err}
}

// TestBodyStalls: clients that fall silent within a body hold up nobody, and
// are told so in the end.
func TestBodyStalls(t *testing.T) {
	const blank = `{"messages":[{"role":"user","content":[{"type":"text","text":""},{"type":"text","text":"x"}]}]}`
	const mended = `{"messages":[{"role":"user","content":[{"type":"text","text":"x"}]}]}`
	for _, sent := range []string{
		"Content-Length: 16777216\r\n\r\nx",
		"Content-Length: 16777216\r\n\r\n",
		"Content-Length: 16777216\r\n\r\n" + strings.Repeat("x", 100<<10),
		"Content-Length: 100\r\n\r\nx",
		"Content-Length: 167772160\r\n\r\nx", // which goes right through
		"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n",
		"Transfer-Encoding: chunked\r\n\r\n",
	} {
		timeless(t, proxy.Config{}, echo, func(t *testing.T, p *proxy.Proxy, ln *pipes) {
			from := time.Now()
			var stalling sync.WaitGroup
			for range 20 {
				conn, in := ln.dial(t)
				stalling.Go(func() {
					_, _ = io.WriteString(conn, "POST /v1/messages HTTP/1.1\r\nHost: x\r\n"+sent)
					got := read(t, in)
					if got.StatusCode != http.StatusRequestTimeout || !strings.Contains(message(t, "anthropic", got), "body") || !got.Close {
						t.Errorf("%.80q: %d %s", sent, got.StatusCode, got.body)
					}
					if took := time.Since(from); took < time.Minute || took > 90*time.Second {
						t.Errorf("%.80q: answered after %v", sent, took)
					}
					if _, err := in.ReadByte(); err != io.EOF { //nolint:errorlint // what a closed pipe says
						t.Errorf("%.80q: after the answer: %v", sent, err)
					}
				})
			}
			synctest.Wait()
			conn, in := ln.dial(t)
			_, _ = fmt.Fprintf(conn, "POST /v1/messages HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(blank), blank)
			if got := read(t, in); got.body != mended {
				t.Errorf("%.80q: meanwhile another's body became %q", sent, got.body)
			}
			stalling.Wait()
			synctest.Wait()
			if held := p.MemoryHeld(); held != 0 {
				t.Errorf("%.80q: bodies hold %d bytes", sent, held)
			}
		})
	}
}

// TestRefusedBodyStalls: nor does one that nobody wants hold its connection.
func TestRefusedBodyStalls(t *testing.T) {
	timeless(t, proxy.Config{}, echo, func(t *testing.T, _ *proxy.Proxy, ln *pipes) {
		from := time.Now()
		conn, in := ln.dial(t)
		_, _ = io.WriteString(conn, "POST /nothing HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nx")
		if got := read(t, in); got.StatusCode != http.StatusNotFound {
			t.Errorf("%d %s", got.StatusCode, got.body)
		}
		if _, err := in.ReadByte(); err != io.EOF || time.Since(from) > 2*time.Minute { //nolint:errorlint // what a closed pipe says
			t.Errorf("after %v: %v", time.Since(from), err)
		}
	})
}

// TestSlowIsNotStalled: a body that comes slowly, an answer that takes its
// time and a connection between two requests last as long as they like.
func TestSlowIsNotStalled(t *testing.T) {
	slow := func(w http.ResponseWriter, r *http.Request) {
		got, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		select {
		case <-time.After(time.Hour):
		case <-r.Context().Done():
			t.Error("left while the upstream thinks")
		}
		for i := range got {
			_, _ = w.Write(got[i : i+1])
			_ = http.NewResponseController(w).Flush()
			time.Sleep(10 * time.Minute)
		}
	}
	const body = "a body in many pieces"
	for name, cfg := range map[string]proxy.Config{
		"kept":   {},
		"passed": {ReplayLimit: len(body) / 2},
	} {
		timeless(t, cfg, slow, func(t *testing.T, _ *proxy.Proxy, ln *pipes) {
			conn, in := ln.dial(t)
			for i, header := range []string{"Content-Length: " + fmt.Sprint(len(body)), "Transfer-Encoding: chunked", "Content-Length: " + fmt.Sprint(len(body))} {
				_, _ = io.WriteString(conn, "POST /responses HTTP/1.1\r\nHost: x\r\n"+header+"\r\n\r\n")
				for _, c := range body {
					time.Sleep(55 * time.Second)
					piece := string(c)
					if i == 1 {
						piece = "1\r\n" + piece + "\r\n"
					}
					_, _ = io.WriteString(conn, piece)
				}
				if i == 1 {
					_, _ = io.WriteString(conn, "0\r\n\r\n")
				}
				if got := read(t, in); got.StatusCode != 200 || got.body != body || got.err != nil {
					t.Errorf("%s, request %d: %d %q %v", name, i, got.StatusCode, got.body, got.err)
				}
				time.Sleep(4 * time.Minute)
			}
		})
	}
}

// TestEndedIsNotStalled: once a body has come whole, nothing that goes wrong
// is for the lack of it, however late.
func TestEndedIsNotStalled(t *testing.T) {
	const body = "a body in many pieces"
	dies := func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		select {
		case <-time.After(10 * time.Minute):
		case <-r.Context().Done():
		}
		panic(http.ErrAbortHandler)
	}
	for name, limit := range map[string]int{"kept": 0, "passed": len(body) / 2} {
		for _, sent := range []string{
			fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(body), body),
			fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(body), body),
		} {
			log := new(logBuffer)
			cfg := proxy.Config{ReplayLimit: limit, Log: slog.New(slog.NewTextHandler(log, nil))}
			timeless(t, cfg, dies, func(t *testing.T, p *proxy.Proxy, ln *pipes) {
				const head = "POST /responses HTTP/1.1\r\nHost: x\r\n"
				conn, in := ln.dial(t)
				_, _ = io.WriteString(conn, head+sent)
				if got := read(t, in); got.StatusCode != http.StatusBadGateway || got.Close || p.Stats().Failed != 1 {
					t.Errorf("%s: the upstream dies: %d %s, %+v", name, got.StatusCode, got.body, p.Stats())
				}
				_, _ = io.WriteString(conn, head+sent)
				time.Sleep(5 * time.Minute)
				_ = conn.Close()
				synctest.Wait()
				if strings.Contains(log.String(), "request refused") {
					t.Errorf("%s: the client leaves: %s", name, log)
				}
			})
		}
	}
}
