package proxy

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"

	"patrol/rotator/pat"
	"patrol/rotator/workspacetest"
)

// TestRefusalPutsBack: the answer is whole after the look, compressed or not,
// and one that is no error isn't read.
func TestRefusalPutsBack(t *testing.T) {
	const invalid = `{"error_code":403,"message":"Invalid access token."}`
	encode := map[string]func(io.Writer) io.WriteCloser{
		"gzip":    func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) },
		"deflate": func(w io.Writer) io.WriteCloser { return zlib.NewWriter(w) },
		"br":      func(w io.Writer) io.WriteCloser { return brotli.NewWriter(w) },
		"zstd": func(w io.Writer) io.WriteCloser {
			z, err := zstd.NewWriter(w)
			if err != nil {
				t.Fatal(err)
			}
			return z
		},
	}
	for _, encoding := range []string{"", "gzip", "deflate", "br", "zstd", "unheard-of"} {
		for plain, want := range map[string]bool{invalid: true, "no": false, strings.Repeat("x", 5*mostRefusal) + invalid: false} {
			var wire bytes.Buffer
			if enc := encode[encoding]; enc != nil {
				z := enc(&wire)
				_, _ = io.WriteString(z, plain)
				_ = z.Close()
			} else {
				wire.WriteString(plain)
			}
			if encoding == "unheard-of" {
				want = plain == invalid // it isn't encoded in truth
			}
			sent := wire.String()
			closed := false
			res := &http.Response{StatusCode: 403, Header: http.Header{"Content-Encoding": {encoding}}, Body: closer{&wire, &closed}}
			if got := new(exchange).saysInvalidToken(res); got != want {
				t.Errorf("%s: %v, want %v", encoding, got, want)
			}
			if got, err := io.ReadAll(res.Body); string(got) != sent || err != nil {
				t.Errorf("%s: %d bytes of %d are left, %v", encoding, len(got), len(sent), err)
			}
			if _ = res.Body.Close(); !closed {
				t.Error("the body isn't closed")
			}
		}
	}
	for _, status := range []int{200, 201, 301, 404, 409, 429, 500, 503} {
		res := &http.Response{StatusCode: status, Body: io.NopCloser(iotest.ErrReader(io.ErrUnexpectedEOF))}
		if new(exchange).saysInvalidToken(res) {
			t.Errorf("%d is taken for a refused token", status)
		}
		if got, err := io.ReadAll(res.Body); len(got) != 0 || err != io.ErrUnexpectedEOF { //nolint:errorlint // the very one
			t.Errorf("%d: the body was touched", status)
		}
	}
	cut := &http.Response{StatusCode: 403, Body: io.NopCloser(io.MultiReader(strings.NewReader("Invalid"), iotest.ErrReader(io.ErrUnexpectedEOF)))}
	if new(exchange).saysInvalidToken(cut) {
		t.Error("a cut answer is taken for a refused token")
	}
	if got, err := io.ReadAll(cut.Body); string(got) != "Invalid" || err != io.ErrUnexpectedEOF { //nolint:errorlint // the very one
		t.Errorf("of a cut answer is left: %q %v", got, err)
	}
}

type closer struct {
	io.Reader
	closed *bool
}

func (c closer) Close() error {
	*c.closed = true
	return nil
}

func FuzzRefusal(f *testing.F) {
	for _, refusal := range workspacetest.Refusals() {
		f.Add("", []byte(refusal.Body))
		f.Add("zstd", []byte(refusal.Body))
	}
	f.Fuzz(func(_ *testing.T, encoding string, body []byte) {
		pat.SaysInvalid(http.StatusForbidden, decoded(encoding, body))
	})
}
