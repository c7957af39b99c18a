package proxy

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"io"
	"net/http"
	"strings"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"

	"patrol/rotator/pat"
)

// mostRefusal is how much of an error's body is looked at, in bytes; those
// that speak of a token have some hundred.
const mostRefusal = 8 << 10

// refusal reports whether the answer says that the token isn't valid. It reads
// the body's beginning, and puts it back.
func (e *exchange) refusal(res *http.Response) bool {
	switch res.StatusCode {
	case http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden:
	default:
		return false
	}
	// What is longer or comes piece by piece is another matter, and isn't held
	// up.
	if res.ContentLength > mostRefusal || strings.HasPrefix(res.Header.Get("Content-Type"), "text/event-stream") {
		return false
	}
	start, err := io.ReadAll(io.LimitReader(res.Body, mostRefusal))
	rest := io.Reader(res.Body)
	if err != nil {
		rest = failing{err} // and not what comes after a second try
	}
	res.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(start), rest), res.Body}
	return pat.SaysInvalid(res.StatusCode, decoded(res.Header.Get("Content-Encoding"), start))
}

// failing is the rest of a body that can't be read.
type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// decoded undoes a content encoding as far as it goes.
func decoded(encoding string, body []byte) []byte {
	var r io.Reader
	var err error
	switch strings.ToLower(strings.TrimSpace(encoding)) {
	case "gzip", "x-gzip":
		r, err = gzip.NewReader(bytes.NewReader(body))
	case "deflate":
		r, err = zlib.NewReader(bytes.NewReader(body))
	case "br":
		r = brotli.NewReader(bytes.NewReader(body))
	case "zstd":
		var z *zstd.Decoder
		if z, err = zstd.NewReader(bytes.NewReader(body), zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(1<<20)); err == nil {
			defer z.Close()
			r = z
		}
	default:
		return body
	}
	if err != nil {
		return nil
	}
	plain, _ := io.ReadAll(io.LimitReader(r, mostRefusal)) // what came before an error counts
	return plain
}
