package upstream_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"patrol/proxy/upstream"
)

// piped is a host in a bubble of fake time whose connections are pipes. A server
// answers each request with its connection's number.
type piped struct {
	*upstream.Host
	client *upstream.Client
	number atomic.Int64
	open   atomic.Int64
	hold   chan struct{} // a connection waits for it; nil: they don't
	jump   time.Duration // of the wall clock
	fields string        // of each answer
}

func newPiped(t *testing.T) *piped {
	p := &piped{}
	p.client = newClient(t, upstream.Config{Dial: p.dial, Now: func() time.Time { return time.Now().Add(p.jump) }})
	p.Host = p.client.Host(&played)
	return p
}

func (p *piped) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	number := p.number.Add(1)
	if p.hold != nil {
		select {
		case <-p.hold:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	own, other := net.Pipe()
	p.open.Add(1)
	go func() {
		defer p.open.Add(-1)
		defer other.Close()
		for nextHead(other) != nil {
			text := strconv.FormatInt(number, 10)
			_, _ = io.WriteString(other, "HTTP/1.1 200 OK\r\nContent-Length: "+strconv.Itoa(len(text))+"\r\n"+p.fields+"\r\n"+text)
		}
	}()
	return own, nil
}

// begin sends a request. end reads the answer, which says over which connection.
func (p *piped) begin(t *testing.T) *upstream.Response {
	t.Helper()
	res, err := p.Do(t.Context(), get("/"), http.Header{})
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func end(t *testing.T, res *upstream.Response) string {
	t.Helper()
	body, err := io.ReadAll(res)
	if err != nil {
		t.Error(err)
	}
	return string(body)
}

func (p *piped) want(t *testing.T, number string, when string) {
	t.Helper()
	if got := end(t, p.begin(t)); got != number {
		t.Errorf("%s: over connection %s, want %s", when, got, number)
	}
}

func TestYoungestFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPiped(t)
		a, b, c := p.begin(t), p.begin(t), p.begin(t)
		end(t, b)
		end(t, c)
		end(t, a)
		p.want(t, "1", "the last one that was given back")
		held := p.begin(t)
		p.want(t, "3", "the one before")
		end(t, held)
		p.want(t, "1", "again")
	})
}

func TestIdleTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPiped(t)
		p.want(t, "1", "first")
		time.Sleep(upstream.IdleFor - time.Second)
		p.want(t, "1", "before its time is over")
		time.Sleep(upstream.IdleFor)
		p.want(t, "2", "after it")
		time.Sleep(2 * upstream.IdleFor)
		if p.Idle() != 0 || p.open.Load() != 0 {
			t.Errorf("%d idle, %d open", p.Idle(), p.open.Load())
		}
		p.fields = "Keep-Alive: timeout=5, max=100\r\n"
		p.want(t, "3", "first")
		time.Sleep(3 * time.Second)
		p.want(t, "3", "before what Keep-Alive says")
		time.Sleep(4500 * time.Millisecond)
		p.want(t, "4", "when it is nearly over")
		p.fields = ""
		p.want(t, "4", "at once")
		time.Sleep(30 * time.Second)
		p.want(t, "4", "Keep-Alive isn't said any more")
		p.fields = "Keep-Alive: timeout=7200\r\n"
		p.want(t, "4", "at once")
		time.Sleep(upstream.IdleFor)
		p.want(t, "5", "more than our own limit isn't granted")
	})
}

func TestSleep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPiped(t)
		p.want(t, "1", "first")
		p.jump = time.Hour
		p.want(t, "2", "after a sleep")
		p.jump += 2 * time.Second
		p.want(t, "2", "the clock was set a little")
		p.jump = 0
		p.want(t, "2", "the clock was set back")
	})
}

func TestTrust(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPiped(t)
		inUse, idle := p.begin(t), p.begin(t)
		end(t, idle)
		p.client.Trust(nil)
		synctest.Wait()
		if p.Idle() != 0 || p.open.Load() != 1 {
			t.Errorf("%d idle, %d open", p.Idle(), p.open.Load())
		}
		if got := end(t, inUse); got != "1" {
			t.Errorf("the one in use is cut: %q", got)
		}
		synctest.Wait()
		if p.Idle() != 0 || p.open.Load() != 0 {
			t.Errorf("%d idle, %d open", p.Idle(), p.open.Load())
		}
		p.want(t, "3", "after it")
		p.want(t, "3", "kept again")
	})
}

// TestTrustDuringDial: a connection that was begun before isn't kept.
func TestTrustDuringDial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPiped(t)
		p.hold = make(chan struct{})
		ended := make(chan string)
		go func() { ended <- end(t, p.begin(t)) }()
		synctest.Wait()
		p.client.Trust(nil)
		close(p.hold)
		if got := <-ended; got != "1" || p.Idle() != 0 {
			t.Errorf("over %q, %d idle", got, p.Idle())
		}
	})
}

// TestFreedDuringDial: a request takes the connection that is given back while its own
// is dialled, which is kept for the next.
func TestFreedDuringDial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPiped(t)
		first := p.begin(t)
		p.hold = make(chan struct{})
		ended := make(chan string)
		go func() { ended <- end(t, p.begin(t)) }()
		synctest.Wait()
		end(t, first)
		if got := <-ended; got != "1" {
			t.Errorf("over connection %s", got)
		}
		close(p.hold)
		synctest.Wait()
		if p.Idle() != 2 {
			t.Errorf("%d idle", p.Idle())
		}
		p.want(t, "2", "the one that was dialled is the youngest")
	})
}

// TestLeavingDuringDial: the connection is kept for the next.
func TestLeavingDuringDial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPiped(t)
		p.hold = make(chan struct{})
		ctx, leave := context.WithTimeout(t.Context(), time.Second)
		defer leave()
		if a := doWith(ctx, p.Host, get("/")); !errors.Is(a.err, context.DeadlineExceeded) {
			t.Errorf("%v", a.err)
		}
		close(p.hold)
		synctest.Wait()
		if p.Idle() != 1 {
			t.Errorf("%d idle", p.Idle())
		}
		p.want(t, "1", "after it")
	})
}

func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPiped(t)
		inUse, idle := p.begin(t), p.begin(t)
		end(t, idle)
		p.hold = make(chan struct{})
		other := p.client.Host(&url.URL{Scheme: "http", Host: "other"})
		dialling := make(chan error)
		go func() { dialling <- doWith(t.Context(), other, get("/")).err }()
		synctest.Wait()
		p.client.Close()
		if err := <-dialling; !errors.Is(err, context.Canceled) {
			t.Errorf("the dial: %v", err)
		}
		if got := end(t, inUse); got != "1" {
			t.Errorf("the one in use is cut: %q", got)
		}
		synctest.Wait()
		if p.Idle() != 0 || p.open.Load() != 0 {
			t.Errorf("%d idle, %d open", p.Idle(), p.open.Load())
		}
		if a := doWith(t.Context(), p.Host, get("/")); a.err == nil {
			t.Error("a request after Close succeeds")
		}
		p.client.Close()
	})
}

// TestMostIdle: of many connections the youngest are kept.
func TestMostIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPiped(t)
		var all []*upstream.Response
		for range upstream.MostIdle + 50 {
			all = append(all, p.begin(t))
		}
		for _, res := range all {
			end(t, res)
		}
		synctest.Wait()
		if p.Idle() != upstream.MostIdle || p.open.Load() != upstream.MostIdle {
			t.Errorf("%d idle, %d open", p.Idle(), p.open.Load())
		}
		p.want(t, strconv.Itoa(upstream.MostIdle+50), "the youngest")
	})
}
