package guard

import (
	"context"
	"net"
	"net/http"
	"testing"
)

// BenchmarkCheck is the guard's part of a request on a kept-alive connection:
// the second and later ones, or those that need a credential.
func BenchmarkCheck(b *testing.B) {
	l := listen(b)
	dial(b, l)
	server, err := l.Accept()
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = server.Close() }()
	g := newGuard(b, Config{})
	request := func(ctx context.Context) *http.Request {
		// As net/http leaves it: two contexts above ConnContext's, one below.
		ctx = context.WithValue(ctx, http.LocalAddrContextKey, l.Addr())
		ctx, cancel := context.WithCancel(ctx)
		b.Cleanup(cancel)
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, "/v1/messages?beta=true", nil)
		if err != nil {
			b.Fatal(err)
		}
		r.Host = "localhost:4000"
		r.Header = http.Header{
			"Accept": {"application/json"}, "Authorization": {"Bearer " + key}, "Content-Type": {"application/json"}, "User-Agent": {"bench"},
			"Accept-Encoding": {"gzip"}, "Anthropic-Version": {"2023-06-01"}, "Content-Length": {"1000"}, "X-Stainless-Lang": {"js"},
		}
		return r
	}
	ctx := g.ConnContext(context.WithValue(context.Background(), http.ServerContextKey, &http.Server{}), server)
	for name, r := range map[string]*http.Request{
		"owner":    request(ctx),
		"no owner": request(context.Background()),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, refusal := g.Check(r, Upstream); refusal != nil {
					b.Fatal(refusal)
				}
			}
		})
	}
}

// BenchmarkOwner is what the first request of a connection adds, by each way
// of asking.
func BenchmarkOwner(b *testing.B) {
	l := listen(b)
	dial(b, l)
	server, err := l.Accept()
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = server.Close() }()
	netlink := newGuard(b, Config{})
	proc := onlyTables(newGuard(b, Config{}), newProcNet())
	for name, g := range map[string]*Guard{"netlink": netlink, "proc": proc} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if s, _ := g.lookUpPeer(server); s != peerAllowed {
					b.Fatal(s)
				}
			}
		})
	}
}

// BenchmarkConnection makes a connection, one request and its answer, with
// the guard and without.
func BenchmarkConnection(b *testing.B) {
	g := newGuard(b, Config{})
	guarded := listen(b)
	serveOn(b, g, g.Limit(guarded))
	bare := listen(b)
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("in")) })}
	go func() { _ = srv.Serve(bare) }()
	b.Cleanup(func() { _ = srv.Close() })
	for _, peer := range []struct {
		name string
		l    net.Listener
	}{{"bare", bare}, {"guarded", guarded}} {
		b.Run(peer.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				c, err := net.Dial("tcp", peer.l.Addr().String())
				if err != nil {
					b.Fatal(err)
				}
				status, _, _, err := sendRequest(c, get)
				if err != nil || status != 200 {
					b.Fatal(status, err)
				}
				_ = c.Close()
			}
		})
	}
}
