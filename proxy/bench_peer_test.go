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
	"strconv"
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
// that are told of a proxy are its own.

func TestMain(m *testing.M) {
	roles := make(map[string]func(args []string) int)
	for _, role := range []string{"upstream", "upstream-tls", "bare", "patrol", "filtered"} {
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
		go func() { _ = http.Serve(ln, http.HandlerFunc(model)) }()
	case "upstream-tls":
		scheme = "https"
		signed, err := selfSigned(cert)
		if err != nil {
			return err
		}
		srv := &http.Server{Handler: http.HandlerFunc(model), TLSConfig: &tls.Config{Certificates: []tls.Certificate{signed}, MinVersion: tls.VersionTLS12}}
		go func() { _ = srv.ServeTLS(ln, "", "") }()
	case "bare":
		target, err := url.Parse(upstream)
		if err != nil {
			return err
		}
		transport := http.DefaultTransport.(*http.Transport).Clone()
		transport.TLSClientConfig = &tls.Config{RootCAs: upstreamCert(cert), MinVersion: tls.VersionTLS12}
		transport.MaxIdleConnsPerHost, transport.DisableCompression = 128, true
		bare := &httputil.ReverseProxy{Transport: transport, Rewrite: func(pr *httputil.ProxyRequest) {
			pr.SetURL(target)
			pr.Out.URL.Path = "/serving-endpoints/chat/completions"
			pr.Out.Header.Set("Authorization", "Bearer x")
		}}
		go func() { _ = http.Serve(ln, bare) }()
	case "patrol", "filtered":
		if err := playPatrol(ln, upstream, cert, role == "filtered"); err != nil {
			return err
		}
	}
	fmt.Println(scheme+"://"+ln.Addr().String(), "http://"+side.Addr().String())
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// playPatrol serves as patrol does.
func playPatrol(ln net.Listener, upstream, cert string, filtered bool) error {
	g, err := guard.New(guard.Config{})
	if err != nil {
		return err
	}
	handovers := make(chan pat.Handover)
	p, err := proxy.New(proxy.Config{Host: upstream, Handovers: handovers, Guard: g, NoFilter: !filtered, RootCAs: upstreamCert(cert)})
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

// accounts tells of the process: CPU in µs, resident memory in bytes.
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
	_, _ = fmt.Fprintln(w, cpuTime().Microseconds(), rss<<10)
}

// model is an upstream at its fastest: ?events=N streams, with ?every=D
// between two events, each of which tells when it was sent.
func model(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	events, _ := strconv.Atoi(r.URL.Query().Get("events"))
	if events == 0 {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"id":"chatcmpl-1","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"Hello from a model."},"finish_reason":"stop"}]}`)
		return
	}
	every, _ := time.ParseDuration(r.URL.Query().Get("every"))
	w.Header().Set("Content-Type", "text/event-stream")
	rc := http.NewResponseController(w)
	for range events {
		_, _ = fmt.Fprintf(w, "data: {\"at\":%d,\"choices\":[{\"index\":0,\"delta\":{\"content\":\" some words of a model\"},\"finish_reason\":null}]}\n\n", time.Now().UnixNano())
		if rc.Flush() != nil {
			return
		}
		if every == 0 {
			continue
		}
		select {
		case <-time.After(every):
		case <-r.Context().Done():
			return
		}
	}
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
	name      string
	url, side string
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
	p := &peer{name: role}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		b.Fatalf("%s: %v", role, err)
	}
	if _, err := fmt.Sscan(line, &p.url, &p.side); err != nil {
		b.Fatalf("%s says %q", role, line)
	}
	return p
}

// account returns what the peer has used so far.
func (p *peer) account(b *testing.B, path string) (cpu time.Duration, rss int) {
	b.Helper()
	res, err := http.Get(p.side + path)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	var us int64
	if _, err := fmt.Fscan(res.Body, &us, &rss); err != nil {
		b.Fatal(err)
	}
	return time.Duration(us) * time.Microsecond, rss
}
