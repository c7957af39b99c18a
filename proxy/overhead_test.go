package proxy_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"

	"patrol/proxy"
	"patrol/rotator/pat"
)

// BenchmarkOverhead is what a request costs without any socket: what patrol
// adds to, or takes from, a bare ReverseProxy's own work.
func BenchmarkOverhead(b *testing.B) {
	const host = "https://w.example"
	answer := roundTrip(func(r *http.Request) (*http.Response, error) {
		if r.Body != nil {
			_, _ = io.Copy(io.Discard, r.Body)
			_ = r.Body.Close()
		}
		return &http.Response{
			StatusCode: 200, ProtoMajor: 1, ProtoMinor: 1, ContentLength: 2, Request: r,
			Header: http.Header{"Content-Type": {"text/plain"}}, Body: io.NopCloser(strings.NewReader("ok")),
		}, nil
	})
	target, err := url.Parse(host)
	if err != nil {
		b.Fatal(err)
	}
	handovers := make(chan pat.Handover)
	p, err := proxy.New(proxy.Config{Host: host, Handovers: handovers, Transport: answer})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error)
	go func() { done <- p.Run(ctx) }()
	if _, err := pat.Publish(ctx, handovers, pat.New(canary, host)); err != nil {
		b.Fatal(err)
	}
	bare := &httputil.ReverseProxy{Transport: answer, FlushInterval: -1, Rewrite: func(pr *httputil.ProxyRequest) {
		pr.SetURL(target)
		pr.Out.Header.Set("Authorization", "Bearer x")
	}}
	for _, peer := range []struct {
		name string
		http.Handler
	}{{"bare", bare}, {"patrol", p}} {
		b.Run(peer.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r := httptest.NewRequest(http.MethodPost, "/v1/chat/completions", strings.NewReader(question))
				r.Header = http.Header{
					"Authorization": {"Bearer stale"}, "Content-Type": {"application/json"}, "User-Agent": {"agent/1.0"},
					"Accept": {"*/*"}, "Accept-Encoding": {"gzip"}, "X-Stainless-Lang": {"js"}, "X-Stainless-Os": {"Linux"},
				}
				w := httptest.NewRecorder()
				if peer.ServeHTTP(w, r); w.Code != 200 {
					b.Fatal(w.Code)
				}
			}
		})
	}
	cancel()
	if err := <-done; err != nil {
		b.Error(err)
	}
}
