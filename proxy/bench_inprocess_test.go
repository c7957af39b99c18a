package proxy_test

import (
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"testing"

	"patrol/proxy"
	"patrol/proxy/guard"
	"patrol/rotator/pat"
)

// BenchmarkInProcess has client, proxy and upstream in one process, over sockets. The
// time of a request is that of all three. Its memory is the proxy's alone, as the other
// two allocate nothing for a request; only an upstream that is spoken to in HTTP/2 does.
func BenchmarkInProcess(b *testing.B) {
	for _, secure := range []bool{false, true} {
		name := map[bool]string{false: "plain", true: "TLS"}[secure]
		b.Run(name, func(b *testing.B) {
			upstream, roots := modelInProcess(b, secure)
			bare, filtered := bareInProcess(b, upstream, roots), patrolInProcess(b, upstream, roots)
			for _, l := range []struct {
				name string
				load
			}{
				{"small", shortLoad(1, longMessage(128, false))},
				{"1MB", shortLoad(1, longMessage(1<<20, false))},
				{"stream", streamLoad(1, 100)},
			} {
				b.Run(l.name+"/bare", func(b *testing.B) { l.inProcess(b, bare) })
				b.Run(l.name+"/filtered", func(b *testing.B) { l.inProcess(b, filtered) })
			}
		})
	}
}

// inProcess asks one request after the other.
func (l load) inProcess(b *testing.B, addr string) {
	client := l.connect(b, addr)[0]
	ask := func() {
		if _, err := client.ask(l.request, l.answer); err != nil {
			b.Fatal(err)
		}
	}
	ask() // its connection upstream is no part of a request
	b.ReportAllocs()
	for b.Loop() {
		ask()
	}
}

func listenInProcess(b *testing.B) net.Listener {
	b.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = ln.Close() })
	return ln
}

// modelInProcess starts the upstream, and returns its URL and who signs for it.
func modelInProcess(b *testing.B, secure bool) (url string, roots *x509.CertPool) {
	ln := listenInProcess(b)
	if !secure {
		go serveModel(ln, nil)
		return "http://" + ln.Addr().String(), nil
	}
	file := filepath.Join(b.TempDir(), "cert.pem")
	cert, err := selfSigned(file)
	if err != nil {
		b.Fatal(err)
	}
	go serveModel(ln, &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12})
	return "https://" + ln.Addr().String(), upstreamCert(file)
}

func bareInProcess(b *testing.B, upstream string, roots *x509.CertPool) (addr string) {
	bare, err := bareProxy(upstream, roots)
	if err != nil {
		b.Fatal(err)
	}
	ln := listenInProcess(b)
	srv := &http.Server{Handler: bare}
	b.Cleanup(func() { _ = srv.Close() })
	go func() { _ = srv.Serve(ln) }()
	return ln.Addr().String()
}

func patrolInProcess(b *testing.B, upstream string, roots *x509.CertPool) (addr string) {
	g, err := guard.New(guard.Config{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = g.Close() })
	f := open(b, proxy.Config{Host: upstream, Guard: g, RootCAs: roots, Log: slog.New(slog.DiscardHandler)})
	f.publish(b, pat.New("x", upstream))
	return f.addr
}
