package proxy

import (
	"bytes"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"patrol/rotator/workspacetest"
)

// relay passes connections on until it is told to swallow what they send, as
// a network does to a laptop that has slept.
type relay struct {
	net.Listener
	to      string
	swallow atomic.Bool
	made    atomic.Int64
	all     sync.WaitGroup
}

func (r *relay) run() {
	for {
		in, err := r.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", r.to)
		if err != nil {
			_ = in.Close()
			continue
		}
		atBirth := r.swallow.Load() // one that is made after it lives
		r.made.Add(1)
		pass := func(to, from net.Conn) {
			buf := make([]byte, 32<<10)
			for {
				n, err := from.Read(buf)
				if r.swallow.Load() == atBirth {
					_, _ = to.Write(buf[:n])
				}
				if err != nil {
					_, _ = to.Close(), from.Close()
					return
				}
			}
		}
		r.all.Go(func() { pass(out, in) })
		r.all.Go(func() { pass(in, out) })
	}
}

// TestDeadHTTP2Connection: a connection that has died without a word is
// noticed, and the next request doesn't wait for it for good.
func TestDeadHTTP2Connection(t *testing.T) {
	ws, err := workspacetest.Start(workspacetest.Config{TLS: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ws.Close() }()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{Listener: ln, to: ws.URL[len("https://"):]}
	r.all.Go(r.run)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ws.CA)
	tr := newTransport(roots)
	if tr.HTTP2.SendPingTimeout <= 0 || tr.HTTP2.PingTimeout <= 0 {
		t.Fatal("no pings are sent")
	}
	tr.HTTP2.SendPingTimeout, tr.HTTP2.PingTimeout = 50*time.Millisecond, 50*time.Millisecond
	defer func() {
		tr.CloseIdleConnections()
		_ = ln.Close()
		r.all.Wait()
	}()
	ask := func() error {
		req, err := http.NewRequestWithContext(t.Context(), "POST", "https://"+ln.Addr().String()+"/serving-endpoints/responses", bytes.NewReader([]byte("{}")))
		if err != nil {
			return err
		}
		res, err := tr.RoundTrip(req)
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, res.Body)
		return errors.Join(err, res.Body.Close())
	}
	if err := ask(); err != nil || r.made.Load() != 1 {
		t.Fatalf("%v, %d connections", err, r.made.Load())
	}
	r.swallow.Store(true)
	// The first one may be what finds it out.
	if ask() != nil {
		if err := ask(); err != nil {
			t.Error(err)
		}
	}
	if r.made.Load() < 2 {
		t.Error("no new connection was made")
	}
}
