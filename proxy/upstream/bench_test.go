package upstream_test

import (
	"bytes"
	"io"
	"net/http"
	"testing"
)

// BenchmarkDo is a request with its answer, and what of it is allocated: the server at
// the other end allocates nothing over plain HTTP.
func BenchmarkDo(b *testing.B) {
	header := http.Header{"Accept": {"*/*"}, "Content-Type": {"application/json"}, "User-Agent": {"agent/1.0"}, "X-Request-Id": {"1"}}
	answer := []byte("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nDate: Sat, 28 Nov 2026 12:00:00 GMT\r\nX-Request-Id: 1\r\nContent-Length: 2\r\n\r\n{}")
	play := func(p *peer) {
		buf := make([]byte, 4<<10)
		for n := 0; ; {
			m, err := p.Read(buf[n:])
			if err != nil {
				return
			}
			if n += m; bytes.HasSuffix(buf[:n], []byte("\r\n\r\n{}")) {
				_, _ = p.Write(answer)
				n = 0
			}
		}
	}
	for i, serve := range []func(testing.TB, func(*peer)) *server{serve, serveTLS} {
		b.Run([]string{"plain", "tls"}[i], func(b *testing.B) {
			h := serve(b, play).host(b)
			buf := make([]byte, 100)
			b.ReportAllocs()
			for b.Loop() {
				req := post("{}")
				req.Header = header
				res, err := h.Do(b.Context(), req, make(http.Header, 8))
				if err != nil {
					b.Fatal(err)
				}
				if _, err := io.ReadFull(res, buf[:2]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
