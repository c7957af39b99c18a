package upstream

import (
	"context"
	"crypto/x509"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// TestDo: requests of all kinds reach a server of net/http as they are, and its answers
// come back.
func TestDo(t *testing.T) {
	for _, scheme := range []string{"http", "https"} {
		t.Run(scheme, func(t *testing.T) {
			srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				w.Header().Set("X-Method", r.Method)
				w.Header().Set("X-Target", r.RequestURI)
				w.Header().Set("X-Name", r.Header.Get("X-Name"))
				w.Header().Set("X-Hidden", r.Header.Get("X-Hidden"))
				w.Header().Set("X-Trailer", r.Trailer.Get("X-T"))
				_, _ = w.Write(body)
			}))
			roots := x509.NewCertPool()
			if scheme == "https" {
				srv.StartTLS()
				roots.AddCert(srv.Certificate())
			} else {
				srv.Start()
			}
			t.Cleanup(srv.Close)
			base, _ := url.Parse(srv.URL)
			c := New(Config{RootCAs: roots})
			t.Cleanup(c.Close)
			h := c.Host(base)
			for _, size := range []int{0, 1, 5000, 100_000, 3 << 20} {
				for _, form := range []string{"whole", "rest", "chunked"} {
					body := strings.Repeat("x", size)
					req := &Request{Method: "POST", Target: "/a?b=c", Header: http.Header{"X-Name": {"v"}, "X-Hidden": {"h"}}, Omit: func(n string) bool { return n == "X-Hidden" }}
					switch form {
					case "whole":
						req.Body, req.Length = []byte(body), int64(size)
					case "rest":
						req.Body, req.Rest, req.Length = []byte(body[:size/2]), strings.NewReader(body[size/2:]), int64(size)
					case "chunked":
						req.Body, req.Rest, req.Length = []byte(body[:size/2]), strings.NewReader(body[size/2:]), -1
						req.Trailer = http.Header{"X-T": {"tv"}}
					}
					header := http.Header{}
					res, err := h.Do(context.Background(), req, header)
					if err != nil {
						t.Fatal(size, form, err)
					}
					got, err := io.ReadAll(res)
					if err != nil || string(got) != body || res.Status != 200 || header.Get("X-Target") != "/a?b=c" || header.Get("X-Name") != "v" || header.Get("X-Hidden") != "" {
						t.Errorf("%d %s: %v %d bytes %v", size, form, err, len(got), header)
					}
				}
			}
			if n := len(h.idle); n != 1 {
				t.Errorf("%d connections", n)
			}
		})
	}
}
