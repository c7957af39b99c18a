package proxy

import (
	"bytes"
	"io"
	"net/http"
	"strings"

	"patrol/proxy/filter"
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
	start, _ := io.ReadAll(io.LimitReader(res.Body, mostRefusal)) // its error comes again when the rest is read
	res.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(start), res.Body), res.Body}
	return pat.SaysInvalid(res.StatusCode, decoded(res.Header.Get("Content-Encoding"), start))
}

// decoded undoes a content encoding as far as it goes.
func decoded(encoding string, body []byte) []byte {
	dec, ok := filter.NewDecoder(encoding, bytes.NewReader(body))
	if !ok {
		return body
	}
	plain, _ := io.ReadAll(io.LimitReader(dec, mostRefusal)) // what came before an error counts
	return plain
}
