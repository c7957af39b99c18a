package filter

import (
	"bufio"
	"bytes"
	"compress/flate"
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zlib"
	"github.com/klauspost/compress/zstd"
)

// maxWindow bounds the memory that a zstd stream may demand. RFC 8878 recommends
// that decoders support 8 MB.
const maxWindow = 8 << 20

var errEncoding = errors.New("content encoding isn't known")

// encodingOf returns a body's Content-Encoding. If it was encoded twice, the result
// is an encoding that isn't known.
func encodingOf(h http.Header) string { return strings.Join(h["Content-Encoding"], ",") }

// openerOf returns what decodes this Content-Encoding, nil if it isn't known. What
// an opener returns hands on data as soon as it can. It needs no Close; that of a
// zstd decoder only frees its memory early.
func openerOf(encoding string) func(src io.Reader) (io.Reader, error) {
	switch strings.ToLower(strings.TrimSpace(encoding)) {
	case "", "identity":
		return func(src io.Reader) (io.Reader, error) { return src, nil }
	case "gzip", "x-gzip":
		return func(src io.Reader) (io.Reader, error) { return &lazyDecoder{src: src, open: newGunzipper}, nil }
	case "deflate":
		return func(src io.Reader) (io.Reader, error) { return &lazyDecoder{src: src, open: newInflater}, nil }
	case "br":
		return func(src io.Reader) (io.Reader, error) { return brotli.NewReader(src), nil }
	case "zstd":
		return func(src io.Reader) (io.Reader, error) {
			return zstd.NewReader(src, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
		}
	}
	return nil
}

// newDecoder returns what src holds once this Content-Encoding is removed.
func newDecoder(encoding string, src io.Reader) (io.Reader, error) {
	open := openerOf(encoding)
	if open == nil {
		return nil, errEncoding
	}
	return open(src)
}

// Accept removes the encodings that Response can't decode from the Accept-Encoding
// of h, the header of the call's request: a response in one of these would pass
// unfiltered. If there are none, h is left alone.
func (c Call) Accept(h http.Header) {
	const key = "Accept-Encoding"
	if c.api != ChatCompletions || !slices.ContainsFunc(h[key], acceptsUnknown) {
		return
	}
	var kept []string
	for _, value := range h[key] {
		for item := range strings.SplitSeq(value, ",") {
			if item = strings.TrimSpace(item); item != "" && isKnown(item) {
				kept = append(kept, item)
			}
		}
	}
	if len(kept) == 0 {
		kept = []string{"identity"} // an empty header would allow any encoding
	}
	h.Set(key, strings.Join(kept, ", "))
}

func acceptsUnknown(value string) bool {
	for item := range strings.SplitSeq(value, ",") {
		if !isKnown(item) {
			return true
		}
	}
	return false
}

// isKnown reports whether an item of Accept-Encoding, with or without its weight,
// is an encoding that can be decoded.
func isKnown(item string) bool {
	name, _, _ := strings.Cut(item, ";")
	return openerOf(name) != nil
}

func newGunzipper(src *bufio.Reader) (io.Reader, error) { return gzip.NewReader(src) }

// newInflater decodes "deflate". By the standard that is zlib, but some servers send
// raw deflate. The two bytes of a zlib header tell them apart.
func newInflater(src *bufio.Reader) (io.Reader, error) {
	head, err := src.Peek(2)
	if err != nil {
		return nil, err
	}
	if head[0]&0x0f == 8 && (int(head[0])<<8|int(head[1]))%31 == 0 {
		return zlib.NewReader(src)
	}
	return flate.NewReader(src), nil
}

// lazyDecoder opens a decoder at the first Read, for decoders that block for the
// header of their format when they are opened.
type lazyDecoder struct {
	src  io.Reader
	open func(*bufio.Reader) (io.Reader, error)
	dec  io.Reader
	err  error
}

func (l *lazyDecoder) Read(p []byte) (int, error) {
	if l.dec == nil && l.err == nil {
		l.dec, l.err = l.open(bufio.NewReader(l.src))
	}
	if l.err != nil {
		return 0, l.err
	}
	return l.dec.Read(p)
}

// decodeBody returns a body without its encoding, and whether it had one. ok is
// false if the body can't be decoded, or has more than limit bytes.
func decodeBody(encoding string, body []byte, limit int64) (decoded []byte, wasEncoded, ok bool) {
	switch encoding {
	case "", "identity":
		return body, false, true
	}
	dec, err := newDecoder(encoding, bytes.NewReader(body))
	if err != nil {
		return nil, false, false
	}
	if z, ok := dec.(*zstd.Decoder); ok {
		defer z.Close()
	}
	decoded, err = io.ReadAll(io.LimitReader(dec, limit+1))
	if err != nil || int64(len(decoded)) > limit {
		return nil, false, false
	}
	return decoded, true, true
}

// markRewritten makes h describe a body that was changed and has n bytes, -1 if
// that isn't known yet.
func markRewritten(h http.Header, n int, wasEncoded bool) {
	if wasEncoded {
		h.Del("Content-Encoding")
	}
	if n >= 0 {
		h.Set("Content-Length", strconv.Itoa(n))
	} else {
		h.Del("Content-Length")
	}
	for _, key := range []string{"Etag", "Content-Md5", "Digest", "Content-Digest", "Repr-Digest", "Accept-Ranges"} {
		h.Del(key)
	}
}
