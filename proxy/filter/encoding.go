package filter

import (
	"bufio"
	"bytes"
	"compress/flate"
	"errors"
	"io"
	"net/http"
	"runtime"
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

// encodingOf returns a body's Content-Encoding. If it was encoded twice, the result
// is an encoding that isn't known.
func encodingOf(h http.Header) string { return strings.Join(h["Content-Encoding"], ",") }

// decoders open what removes each Content-Encoding. What they return hands on data as
// soon as it can, and needs no Close.
var decoders = map[string]func(src *bufio.Reader) (io.Reader, error){
	"gzip":    newGunzipper,
	"x-gzip":  newGunzipper,
	"deflate": newInflater,
	"br":      func(src *bufio.Reader) (io.Reader, error) { return brotli.NewReader(src), nil },
	"zstd": func(src *bufio.Reader) (io.Reader, error) {
		return zstd.NewReader(src, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
	},
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

// NewDecoder returns what src holds once this Content-Encoding is removed. It isn't
// ok if the encoding isn't known.
func NewDecoder(encoding string, src io.Reader) (dec io.Reader, ok bool) {
	name := nameOf(encoding)
	if isIdentity(name) {
		return src, true
	}
	open, ok := decoders[name]
	return &lazyDecoder{src: src, open: open}, ok
}

// nameOf returns the name of an encoding as decoders has it. item may be one of
// Accept-Encoding, which can have a weight.
func nameOf(item string) string {
	name, _, _ := strings.Cut(item, ";")
	return strings.ToLower(strings.TrimSpace(name))
}

func isIdentity(name string) bool { return name == "" || name == "identity" }

// Accept returns what the call's request, whose header is h, must send as
// Accept-Encoding instead: what it has there without the encodings that Response can't
// decode, as a response in one of these would pass unfiltered. It returns "" if there
// are none.
func (c Call) Accept(h http.Header) string {
	const key = "Accept-Encoding"
	if c.api != ChatCompletions || !slices.ContainsFunc(h[key], acceptsUnknown) {
		return ""
	}
	var kept []string
	for _, value := range h[key] {
		for item := range strings.SplitSeq(value, ",") {
			if item = strings.TrimSpace(item); item != "" && !acceptsUnknown(item) {
				kept = append(kept, item)
			}
		}
	}
	if len(kept) == 0 {
		return "identity" // an empty header would allow any encoding
	}
	return strings.Join(kept, ", ")
}

// acceptsUnknown reports whether a list of encodings has one that can't be decoded.
func acceptsUnknown(list string) bool {
	for item := range strings.SplitSeq(list, ",") {
		if name := nameOf(item); !isIdentity(name) && decoders[name] == nil {
			return true
		}
	}
	return false
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

// inflating bounds how many bodies are inflated at a time: a decoder's own memory, up to
// 16 MB of it, isn't lent.
var inflating = make(chan struct{}, runtime.GOMAXPROCS(0))

// A body is inflated in parts of at most maxPart bytes, and no part but the first is larger
// than all before it, so that what is lent is in proportion to what has come.
const (
	minPart = 512
	maxPart = 1 << 20
)

// inflate returns a body without its encoding, and the body itself if it has none. It
// returns nil if the body can't be decoded. exceeded is the bound that it exceeds, if that
// is why: it may have limit bytes, and as many as lend lends.
func inflate(encoding string, body []byte, limit int, lend func(n int) []byte) (text []byte, exceeded string) {
	if isIdentity(encoding) {
		return body, ""
	}
	dec, ok := NewDecoder(encoding, bytes.NewReader(body))
	if !ok {
		return nil, ""
	}
	inflating <- struct{}{}
	defer func() { <-inflating }()
	var parts [][]byte
	total := 0
	for ended := false; !ended; {
		// Most bodies become less than eight times as long, and are one part.
		part := lend(min(max(8*len(body), total, minPart), maxPart))
		if part == nil {
			return nil, memoryBound
		}
		part, ended, ok = fill(part, dec)
		parts, total = append(parts, part), total+len(part)
		if !ok {
			return nil, ""
		}
		if total > limit {
			return nil, sizeBound
		}
	}
	if len(parts) == 1 {
		return parts[0], ""
	}
	if text = lend(total); text == nil {
		return nil, memoryBound
	}
	for _, part := range parts {
		text = append(text, part...)
	}
	return text, ""
}

// fill reads into the room that is left in buf, and reports whether src has ended. It
// isn't ok if src fails.
func fill(buf []byte, src io.Reader) (filled []byte, ended, ok bool) {
	for len(buf) < cap(buf) {
		n, err := src.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if err != nil {
			ended = errors.Is(err, io.EOF)
			return buf, ended, ended
		}
	}
	return buf, false, true
}

// digests are the fields that are wrong once a body was changed.
var digests = []string{"Etag", "Content-Md5", "Digest", "Content-Digest", "Repr-Digest", "Accept-Ranges"}

// Outdates reports whether a field of the request's header no longer describes the body
// that Request has returned. Its Content-Length the caller knows.
func (c Call) Outdates(name string) bool {
	return c.changed && (name == "Content-Encoding" && c.decoded || slices.Contains(digests, name))
}

// markRewritten makes h describe a response that was changed and has n bytes, -1 if
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
	for _, key := range digests {
		h.Del(key)
	}
}
