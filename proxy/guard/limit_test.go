package guard

import (
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

func listen(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// waitUntil waits until another goroutine has brought it about.
func waitUntil(t testing.TB, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("waited for ten seconds in vain")
		}
	}
}

func dial(t testing.TB, l net.Listener) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// TestLimit opens one connection more than two listeners may have together.
func TestLimit(t *testing.T) {
	g := newGuard(t, Config{MaxConns: 2})
	l1, l2 := g.Limit(listen(t)), g.Limit(listen(t))
	accept := func(l net.Listener) net.Conn {
		t.Helper()
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	dial(t, l1)
	dial(t, l2)
	c1, c2 := accept(l1), accept(l2)
	dial(t, l1)
	third := make(chan net.Conn)
	go func() {
		c, _ := l1.Accept()
		third <- c
	}()
	waitUntil(t, func() bool { return g.Counters()["full"] == 1 }) // it waits
	select {
	case <-third:
		t.Fatal("a third connection was accepted")
	default:
	}
	_ = c2.Close()
	_ = c2.Close() // frees its slot once
	c3 := <-third
	if c3 == nil || len(g.slots) != 2 {
		t.Fatalf("after one was closed: %v, %d slots taken", c3, len(g.slots))
	}
	_, isTCP := c3.(interface{ CloseWrite() error })
	if !isTCP {
		t.Error("the connection has lost CloseWrite")
	}
	_ = c1.Close()
	_ = c3.Close()
	if len(g.slots) != 0 {
		t.Errorf("all closed, and %d slots are taken", len(g.slots))
	}
}

func TestLimitClose(t *testing.T) {
	g := newGuard(t, Config{MaxConns: 1})
	l := g.Limit(listen(t))
	dial(t, l)
	if _, err := l.Accept(); err != nil {
		t.Fatal(err)
	}
	dial(t, l)
	failed := make(chan error)
	go func() {
		_, err := l.Accept()
		failed <- err
	}()
	waitUntil(t, func() bool { return g.Counters()["full"] == 1 })
	_ = l.Close()
	if err := <-failed; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept at the limit, after Close: %v", err)
	}
	_ = l.Close()
}

// TestLimitServes checks that 200 clients get through 3 slots.
func TestLimitServes(t *testing.T) {
	g := newGuard(t, Config{MaxConns: 3})
	l := listen(t)
	serveOn(t, g, g.Limit(l))
	var all sync.WaitGroup
	for range 200 {
		all.Go(func() {
			client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
			r, _ := http.NewRequest(http.MethodPost, "http://"+l.Addr().String(), strings.NewReader("{}"))
			r.Header.Set("X-Api-Key", key)
			resp, err := client.Do(r)
			if err != nil {
				t.Error(err)
				return
			}
			defer func() { _ = resp.Body.Close() }()
			if text, err := io.ReadAll(resp.Body); err != nil || string(text) != "in" {
				t.Errorf("%d %s %v", resp.StatusCode, text, err)
			}
		})
	}
	all.Wait()
}

// TestRefusedUpload checks that a client which still sends a large body gets
// to read why it is refused.
func TestRefusedUpload(t *testing.T) {
	g := newGuard(t, Config{})
	l := listen(t)
	serveOn(t, g, g.Limit(l))
	for range 20 {
		r, _ := http.NewRequest(http.MethodPost, "http://"+l.Addr().String(), strings.NewReader(strings.Repeat("x", 4<<20)))
		r.Host = "evil.com"
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusForbidden {
			t.Errorf("%d", resp.StatusCode)
		}
	}
}
