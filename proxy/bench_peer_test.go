package proxy_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httputil"
	"net/http/pprof"
	"net/url"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"patrol/proxy"
	"patrol/proxy/guard"
	"patrol/rotator/pat"
	"patrol/rotator/processtest"
)

// The benchmarks compare processes: the upstream and each proxy run in one of
// their own, this test binary started again, so that the CPU and the memory
// that are told of a proxy are its own. The clients run in the process of the
// benchmark, which is none of these.

func TestMain(m *testing.M) {
	roles := make(map[string]func(args []string) int)
	for _, role := range []string{"upstream", "upstream-tls", "bare", "filtered"} {
		roles[role] = func(args []string) int {
			if err := play(role, args[0], args[1]); err != nil {
				fmt.Fprintln(os.Stderr, role, err)
				return 1
			}
			return 0
		}
	}
	processtest.Main(m, roles)
}

// play serves the role until stdin ends. It prints the URL of the role, and that
// of its own accounts. cert is the file of the upstream's certificate, which
// upstream-tls writes.
func play(role, upstream, cert string) error {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	side, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	go func() { _ = http.Serve(side, http.HandlerFunc(accounts)) }()
	scheme := "http"
	switch role {
	case "upstream":
		go serveModel(ln, nil)
	case "upstream-tls":
		scheme = "https"
		signed, err := selfSigned(cert)
		if err != nil {
			return err
		}
		go serveModel(ln, &tls.Config{Certificates: []tls.Certificate{signed}, MinVersion: tls.VersionTLS12})
	case "bare":
		bare, err := bareProxy(upstream, upstreamCert(cert))
		if err != nil {
			return err
		}
		go func() { _ = http.Serve(ln, bare) }()
	case "filtered":
		if err := playPatrol(ln, upstream, cert); err != nil {
			return err
		}
	}
	fmt.Println(scheme+"://"+ln.Addr().String(), "http://"+side.Addr().String())
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// bareProxy returns what patrol is compared with: the least that a ReverseProxy
// needs to do patrol's work, in HTTP/1.1 over TLS too.
func bareProxy(upstream string, roots *x509.CertPool) (http.Handler, error) {
	target, err := url.Parse(upstream)
	if err != nil {
		return nil, err
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	transport.Protocols = new(http.Protocols)
	transport.Protocols.SetHTTP1(true)
	transport.MaxIdleConnsPerHost, transport.DisableCompression = 128, true
	bare := &httputil.ReverseProxy{Transport: transport, Rewrite: func(pr *httputil.ProxyRequest) {
		pr.SetURL(target)
		pr.Out.URL.Path = "/serving-endpoints/chat/completions"
		pr.Out.Header.Set("Authorization", "Bearer x")
	}}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// Else the server closes the request's body when an answer begins, although the
		// Transport may still look for its end; then it cuts the answer.
		_ = http.NewResponseController(w).EnableFullDuplex()
		bare.ServeHTTP(w, r)
	}), nil
}

// playPatrol serves as patrol does, with guard, filter and second tries.
func playPatrol(ln net.Listener, upstream, cert string) error {
	g, err := guard.New(guard.Config{})
	if err != nil {
		return err
	}
	handovers := make(chan pat.Handover)
	p, err := proxy.New(proxy.Config{Host: upstream, Handovers: handovers, Guard: g, RootCAs: upstreamCert(cert)})
	if err != nil {
		return err
	}
	go func() { _ = p.Run(context.Background()) }()
	go func() { _ = p.Serve(g.Limit(ln)) }()
	_, err = pat.Publish(context.Background(), handovers, pat.New("x", upstream))
	return err
}

// upstreamCert returns who is trusted, nil if the upstream speaks no TLS.
func upstreamCert(cert string) *x509.CertPool {
	file, err := os.ReadFile(cert)
	if err != nil {
		return nil
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(file)
	return pool
}

// accounts tells of the process: CPU in µs, resident memory in bytes, goroutines.
func accounts(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/memory":
		runtime.GC()
		debug.FreeOSMemory()
	case "/debug/pprof/profile": // by hand: go tool pprof
		pprof.Profile(w, r)
		return
	case "/debug/pprof/heap":
		pprof.Index(w, r)
		return
	}
	status, _ := os.ReadFile("/proc/self/status")
	var rss int
	for line := range strings.Lines(string(status)) {
		_, _ = fmt.Sscanf(line, "VmRSS: %d kB", &rss)
	}
	_, _ = fmt.Fprintln(w, cpuTime().Microseconds(), rss<<10, runtime.NumGoroutine())
}

// selfSigned makes a certificate for loopback, and writes it to file.
func selfSigned(file string) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	cert := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "bench"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, cert, cert, &key.PublicKey, key)
	if err != nil {
		return tls.Certificate{}, err
	}
	err = os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}

// peer is a process that plays a role.
type peer struct {
	url  string
	addr string // the same without its scheme
	side string
}

// startPeer starts one that ends with the benchmark. cert is a file, for the
// upstream's certificate.
func startPeer(b *testing.B, role, upstream, cert string) *peer {
	b.Helper()
	cmd := processtest.Command(role, upstream, cert)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	p := new(peer)
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		b.Fatalf("%s: %v", role, err)
	}
	if _, err := fmt.Sscan(line, &p.url, &p.side); err != nil {
		b.Fatalf("%s says %q", role, line)
	}
	_, p.addr, _ = strings.Cut(p.url, "://")
	return p
}

// usage is what a process has used so far, or has at the moment.
type usage struct {
	cpu        time.Duration
	rss        int
	goroutines int
}

// account asks the peer for its usage; after path /memory, when it has given back
// what it doesn't use.
func (p *peer) account(b *testing.B, path string) (u usage) {
	b.Helper()
	res, err := http.Get(p.side + path)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	var us int64
	if _, err := fmt.Fscan(res.Body, &us, &u.rss, &u.goroutines); err != nil {
		b.Fatal(err)
	}
	u.cpu = time.Duration(us) * time.Microsecond
	return u
}
