package proxy

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"
)

// mostRefusal is how much of an error's body is looked at, in bytes; those
// that speak of a token have some hundred.
const mostRefusal = 8 << 10

// refusal reports whether the answer says that the token isn't valid, rather
// than that its user may not do this: only the message tells them apart. It
// reads the body's beginning, and puts it back.
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
	return invalidToken(decoded(res.Header.Get("Content-Encoding"), start))
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

// sentence matches what Databricks says of a token that isn't valid: the whole
// message, but for a request id after it. A JSON parser's "invalid token '}'"
// is another matter.
var sentence = regexp.MustCompile(`(?i)^\s*(?:error \d+:?\s+)?(?:(?:the )?(?:provided )?(?:access )?token (?:is|has|was) (?:expired|revoked|invalid|not valid)|(?:invalid|expired|revoked) (?:access |personal access )?token|(?:the )?(?:access )?token expired)[.!]?\s*(?:\[reqid:[^\]]*\])?\s*$`)

// preformatted finds the message in a page as Databricks' front end makes
// them.
var preformatted = regexp.MustCompile(`(?is)<pre>(.*?)</pre>`)

// invalidToken reports whether an error's body says that the token isn't valid.
func invalidToken(body []byte) bool {
	body = bytes.TrimSpace(body)
	if len(body) == 0 {
		return false
	}
	switch body[0] {
	case '{':
		return slices.ContainsFunc(messagesOf(body), sentence.MatchString)
	case '<':
		found := preformatted.FindSubmatch(body)
		return found != nil && sentence.Match(found[1])
	}
	return sentence.Match(body)
}

// messagesOf returns what a JSON error says, wherever services put it.
func messagesOf(body []byte) []string {
	var v struct {
		Message     string          `json:"message"`
		Description string          `json:"error_description"`
		Detail      string          `json:"detail"`
		Error       json.RawMessage `json:"error"`
	}
	err := json.Unmarshal(body, &v)
	if _, mistyped := errors.AsType[*json.UnmarshalTypeError](err); err != nil && !mistyped {
		return nil
	}
	all := []string{v.Message, v.Description, v.Detail}
	var text string
	var nested struct {
		Message string `json:"message"`
	}
	switch {
	case len(v.Error) == 0:
	case json.Unmarshal(v.Error, &text) == nil:
		all = append(all, text)
	case json.Unmarshal(v.Error, &nested) == nil:
		all = append(all, nested.Message)
	}
	return all
}
