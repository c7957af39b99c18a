package proxy_test

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"

	"patrol/proxy"
	"patrol/rotator/pat"
	"patrol/rotator/workspacetest"
)

const invalidToken = `{"error_code":403,"message":"Invalid access token."}`

// encoded returns text in this Content-Encoding; as it is in one that doesn't exist.
func encoded(t testing.TB, encoding, text string) string {
	t.Helper()
	var wire bytes.Buffer
	var z io.WriteCloser
	switch encoding {
	case "gzip":
		z = gzip.NewWriter(&wire)
	case "deflate":
		z = zlib.NewWriter(&wire)
	case "br":
		z = brotli.NewWriter(&wire)
	case "zstd":
		var err error
		if z, err = zstd.NewWriter(&wire); err != nil {
			t.Fatal(err)
		}
	default:
		return text
	}
	_, _ = io.WriteString(z, text)
	_ = z.Close()
	return wire.String()
}

// TestRefusalIsWhole: a refused token is recognized, compressed or not, and the client
// gets the answer whole that was looked at.
func TestRefusalIsWhole(t *testing.T) {
	answers := make(chan string, 1)
	url := wire(t, func(conn net.Conn, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(conn, <-answers)
	})
	var asked atomic.Int64
	h := open(t, proxy.Config{Host: url, Refused: func(context.Context, pat.Token) (pat.Token, bool) {
		asked.Add(1)
		return pat.Token{}, false
	}})
	h.publish(t, pat.New(canary, url))
	ask := func(answer string) reply {
		asked.Store(0)
		answers <- answer
		return h.do(t, "POST", "/v1/messages", "{}", "Accept-Encoding", "all")
	}
	for _, encoding := range []string{"", "gzip", "deflate", "br", "zstd", "unheard-of"} {
		for plain, want := range map[string]int64{invalidToken: 1, "no": 0, strings.Repeat("x", 40<<10) + invalidToken: 0} {
			sent := encoded(t, encoding, plain)
			for _, framing := range []string{
				fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(sent), sent),
				fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(sent), sent),
				"Connection: close\r\n\r\n" + sent,
			} {
				got := ask("HTTP/1.1 403 Forbidden\r\nContent-Encoding: " + encoding + "\r\n" + framing)
				if got.StatusCode != 403 || got.body != sent || got.err != nil || asked.Load() != want {
					t.Errorf("%s, %d bytes: %d, %d bytes, %v; asked %d times", encoding, len(sent), got.StatusCode, len(got.body), got.err, asked.Load())
				}
			}
		}
	}
	for _, status := range []int{200, 201, 301, 404, 409, 429, 500, 503} {
		got := ask(fmt.Sprintf("HTTP/1.1 %d x\r\nContent-Length: %d\r\n\r\n%s", status, len(invalidToken), invalidToken))
		if got.StatusCode != status || got.body != invalidToken || asked.Load() != 0 {
			t.Errorf("%d is taken for a refused token: %d %s", status, got.StatusCode, got.body)
		}
	}
	cut := ask("HTTP/1.1 403 Forbidden\r\nContent-Length: 100\r\n\r\nInvalid")
	if cut.StatusCode != 403 || cut.body != "Invalid" || cut.err == nil || asked.Load() != 0 {
		t.Errorf("of a cut answer is left: %d %q %v", cut.StatusCode, cut.body, cut.err)
	}
}

func FuzzRefusal(f *testing.F) {
	for _, refusal := range workspacetest.Refusals() {
		f.Add("", []byte(refusal.Body))
		f.Add("zstd", []byte(refusal.Body))
	}
	f.Fuzz(func(_ *testing.T, encoding string, body []byte) {
		pat.SaysInvalid(http.StatusForbidden, proxy.Decoded(encoding, body))
	})
}
