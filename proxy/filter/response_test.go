package filter

import (
	"bytes"
	"compress/flate"
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zlib"
	"github.com/klauspost/compress/zstd"
)

func TestPlainResponses(t *testing.T) {
	of := func(members, finish string) string {
		return `{"id":"x", "choices":[{"index":0,"message":{"role":"assistant",` + members + `},"finish_reason":"` + finish + `"}],"usage":{"total_tokens":3}}`
	}
	call := func(name, args string) string {
		return `{"id":"c1","type":"function","function":{"name":"` + name + `","arguments":"` + args + `"}}`
	}
	calls := func(elements string) string { return `"content":null,"tool_calls":[` + elements + `]` }
	for _, c := range []streamCase{
		{"clean", of(`"content":"a"`, "stop"), ""},
		{"clean call", of(calls(call("bash", "{}")), "tool_calls"), ""},
		{"real name", of(calls(call(wrapperName, `{\"cmd\":\"ls\",\"name\":\"bash\"}`)), "stop"), of(calls(call("bash", `{\"cmd\":\"ls\"}`)), "tool_calls")},
		{"parallel", of(calls(call(wrapperName, `{\"name\":\"bash\"}`)+","+call("read", "{}")+","+call(wrapperName, `{\"name\":\"read\"}`)), "tool_calls"), of(calls(call("bash", `{}`)+","+call("read", "{}")+","+call("read", `{}`)), "tool_calls")},
		{"not one of the tools", of(calls(call(wrapperName, `{\"name\":\"Bob\"}`)), "tool_calls"), ""},
		{"arguments that aren't JSON", of(calls(call(wrapperName, `{\"name\":\"bash\"`)), "tool_calls"), ""},
		{"something after the arguments", of(calls(call(wrapperName, `{\"name\":\"bash\"} x`)), "tool_calls"), of(calls(call("bash", `{} x`)), "tool_calls")},
		{"stop with a call", of(calls(call("bash", "{}")), "stop"), of(calls(call("bash", "{}")), "tool_calls")},
		{"stop with no calls", of(`"content":"a","tool_calls":[]`, "stop"), ""},
		{"length with a call", of(calls(call("bash", "{}")), "length"), ""},
		{"parts", of(`"content":[{"type":"reasoning","summary":[{"type":"summary_text","text":"hm"}]},{"type":"text","text":"a"}]`, "stop"), of(`"content":"a","reasoning_content":"hm"`, "stop")},
		{"error", `{"error":{"message":"x"}}`, ""},
		{"null for choices, message, tool_calls", `{"choices":null}`, ""},
		{"null further down", `{"choices":[null,{"message":null},{"message":{"tool_calls":null,"content":null},"finish_reason":null}]}`, ""},
		{"no JSON", `{"choices":[{"message":{"content":[]}}]`, ""},
		{"HTML", `<html>`, ""},
		{"empty", ``, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.want == "" {
				c.want = c.in
			}
			for range 2 { // the second time with what came out of the first
				res := httpResponse("application/json", strings.NewReader(c.in))
				res.ContentLength = int64(len(c.in))
				res.Header.Set("Content-Length", strconv.Itoa(len(c.in)))
				res.Header.Set("Etag", `"x"`)
				callWithTools(t, "bash", "read").Response(res)
				got, err := io.ReadAll(res.Body)
				if err != nil || string(got) != c.want {
					t.Fatalf("%v\n got %s\nwant %s", err, got, c.want)
				}
				if int64(len(got)) != res.ContentLength || res.Header.Get("Content-Length") != strconv.Itoa(len(got)) {
					t.Errorf("the length is %d, %v", res.ContentLength, res.Header)
				}
				if (res.Header.Get("Etag") == "") != (c.in != c.want) {
					t.Error("the ETag belongs to the bytes that came")
				}
				c.in = c.want
			}
		})
	}
}

// dirtyResponse is a response that has to change.
const (
	dirtyResponse = `{"choices":[{"message":{"content":[{"type":"text","text":"a"}]}}]}`
	cleanResponse = `{"choices":[{"message":{"content":"a"}}]}`
)

func TestResponsesThatPass(t *testing.T) {
	for name, change := range map[string]func(*http.Response, *Call){
		"another API":   func(_ *http.Response, c *Call) { c.api = AnthropicMessages },
		"no call":       func(_ *http.Response, c *Call) { *c = Call{} },
		"an error":      func(r *http.Response, _ *Call) { r.StatusCode = http.StatusForbidden },
		"another type":  func(r *http.Response, _ *Call) { r.Header.Set("Content-Type", "text/plain") },
		"no type":       func(r *http.Response, _ *Call) { r.Header.Del("Content-Type") },
		"a broken type": func(r *http.Response, _ *Call) { r.Header.Set("Content-Type", ";;") },
		"too large":     func(r *http.Response, _ *Call) { r.ContentLength = maxResponse + 1 },
		"unknown encoding": func(r *http.Response, _ *Call) {
			r.Header.Set("Content-Encoding", "dcb")
		},
		"two encodings":       func(r *http.Response, _ *Call) { r.Header.Set("Content-Encoding", "gzip, br") },
		"not in its encoding": func(r *http.Response, _ *Call) { r.Header.Set("Content-Encoding", "gzip") },
	} {
		t.Run(name, func(t *testing.T) {
			res := httpResponse("application/json", strings.NewReader(dirtyResponse))
			c := callWithTools(t)
			change(res, &c)
			encoding, length := res.Header.Get("Content-Encoding"), res.ContentLength
			c.Response(res)
			got, err := io.ReadAll(res.Body)
			if err != nil || string(got) != dirtyResponse || res.Header.Get("Content-Encoding") != encoding || res.ContentLength != length {
				t.Fatalf("%q, %v, %v", got, err, res.Header)
			}
		})
	}
	res := httpResponse("application/json", nil)
	res.Body = nil
	callWithTools(t).Response(res)
	res.Body = http.NoBody
	callWithTools(t).Response(res)
	if res.Body != http.NoBody {
		t.Error("there was no body")
	}
}

func TestLargeResponsePasses(t *testing.T) {
	large := `{"x":"` + strings.Repeat("x", maxResponse) + `",` + dirtyResponse[1:]
	res := httpResponse("application/json", strings.NewReader(large))
	callWithTools(t).Response(res)
	if got, err := io.ReadAll(res.Body); err != nil || string(got) != large {
		t.Fatal("it has changed", err)
	}
}

func TestCutResponse(t *testing.T) {
	cut := errors.New("cut")
	res := httpResponse("application/json", io.MultiReader(strings.NewReader(dirtyResponse), iotest.ErrReader(cut)))
	callWithTools(t).Response(res)
	if got, err := io.ReadAll(res.Body); string(got) != dirtyResponse || !errors.Is(err, cut) {
		t.Fatalf("%q, %v", got, err)
	}
}

// encoderOf are the content encodings that are known.
var encoderOf = map[string]func(io.Writer) io.WriteCloser{
	"gzip":        func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) },
	"x-gzip":      func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) },
	"deflate":     func(w io.Writer) io.WriteCloser { return zlib.NewWriter(w) },
	"br":          func(w io.Writer) io.WriteCloser { return brotli.NewWriter(w) },
	"zstd":        func(w io.Writer) io.WriteCloser { z, _ := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1)); return z },
	"raw deflate": func(w io.Writer) io.WriteCloser { f, _ := flate.NewWriter(w, 6); return f },
}

func encoded(tb testing.TB, encoding, s string) []byte {
	tb.Helper()
	var b bytes.Buffer
	w := encoderOf[encoding](&b)
	if _, err := io.WriteString(w, s); err != nil {
		tb.Fatal(err)
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

func TestEncodedBodies(t *testing.T) {
	dirty, clean := chat(`{"role":"user","content":""}`), chat(hi)
	for name := range encoderOf {
		t.Run(name, func(t *testing.T) {
			encoding := strings.TrimPrefix(name, "raw ")
			h, body := http.Header{"Content-Encoding": {encoding}}, encoded(t, name, clean)
			if out, call := Request(ChatCompletions, "", h, body, nil); &out[0] != &body[0] || call.Outdates("Digest") {
				t.Errorf("a clean request became %q, %+v", out, call)
			}
			out, call := Request(ChatCompletions, "", h, encoded(t, name, dirty), nil)
			if string(out) != chat(`{"role":"user","content":"."}`) || !call.Outdates("Digest") || !call.Outdates("Content-Encoding") || len(h) != 1 {
				t.Errorf("a dirty request became %q, %+v", out, call)
			}
			body = encoded(t, name, dirty)
			if out, _ := Request(GeminiGenerate, "other", h, body, nil); &out[0] != &body[0] {
				t.Errorf("nobody had to look at it")
			}
			body = body[:len(body)-5]
			if out, call := Request(ChatCompletions, "", h, body, nil); &out[0] != &body[0] || call.Outdates("Content-Encoding") {
				t.Errorf("a broken request became %q, %+v", out, call)
			}

			raw := encoded(t, name, cleanResponse)
			res := httpResponse("application/json", bytes.NewReader(raw))
			res.Header.Set("Content-Encoding", encoding)
			callWithTools(t).Response(res)
			if got, err := io.ReadAll(res.Body); err != nil || !bytes.Equal(got, raw) || res.Header.Get("Content-Encoding") != encoding {
				t.Errorf("a clean response became %q, %v, %v", got, err, res.Header)
			}
			res = httpResponse("application/json", bytes.NewReader(encoded(t, name, dirtyResponse)))
			res.Header.Set("Content-Encoding", encoding)
			callWithTools(t).Response(res)
			if got, err := io.ReadAll(res.Body); err != nil || string(got) != cleanResponse || res.Header.Get("Content-Encoding") != "" {
				t.Errorf("a dirty response became %q, %v, %v", got, err, res.Header)
			}
			res = httpResponse("text/event-stream", bytes.NewReader(raw))
			res.Header.Set("Content-Encoding", encoding)
			res.Header.Set("Content-Length", "7")
			callWithTools(t).Response(res)
			if got, err := io.ReadAll(res.Body); err != nil || string(got) != cleanResponse || len(res.Header) != 1 || res.ContentLength != -1 {
				t.Errorf("a stream became %q, %v, %v", got, err, res.Header)
			}
		})
	}
}

// An encoded stream is handed on as far as its encoder has flushed it.
func TestEncodedStreamIsPrompt(t *testing.T) {
	type flusher interface{ Flush() error }
	text := deltaChunk(`"content":"a"`)
	for name := range encoderOf {
		t.Run(name, func(t *testing.T) {
			src, feed := io.Pipe()
			res := httpResponse("text/event-stream", src)
			res.Header.Set("Content-Encoding", strings.TrimPrefix(name, "raw "))
			callWithTools(t).Response(res)
			flushed := make(chan []byte, 3)
			go func() {
				for b := range flushed {
					_, _ = feed.Write(b)
				}
				_ = feed.Close()
			}()
			var b bytes.Buffer
			w := encoderOf[name](&b)
			for range 3 {
				_, _ = io.WriteString(w, text)
				_ = w.(flusher).Flush()
				flushed <- bytes.Clone(b.Bytes())
				b.Reset()
				got := make([]byte, len(text))
				if _, err := io.ReadFull(res.Body, got); err != nil || string(got) != text {
					t.Fatalf("%q, %v", got, err)
				}
			}
			_ = w.Close()
			flushed <- b.Bytes()
			close(flushed)
			if rest, err := io.ReadAll(res.Body); err != nil || len(rest) > 0 {
				t.Fatalf("%q, %v", rest, err)
			}
		})
	}
}

// A body that was encoded twice passes as it is, whichever way the header says
// so: what it is in after one of them off is no event, and no JSON either.
func TestEncodedTwice(t *testing.T) {
	twice := string(encoded(t, "br", string(encoded(t, "gzip", dirtyResponse))))
	for _, encodings := range [][]string{{"gzip, br"}, {"gzip", "br"}, {"br", "gzip"}} {
		for _, media := range []string{"text/event-stream", "application/json"} {
			res := httpResponse(media, strings.NewReader(twice))
			res.Header["Content-Encoding"] = slices.Clone(encodings)
			callWithTools(t).Response(res)
			if got, err := io.ReadAll(res.Body); err != nil || string(got) != twice || !slices.Equal(res.Header["Content-Encoding"], encodings) {
				t.Errorf("%q, %s: %q, %v, %v", encodings, media, got, err, res.Header)
			}
		}
		h := http.Header{"Content-Encoding": encodings}
		if out, call := Request(ChatCompletions, "", h, []byte(twice), nil); string(out) != twice || call.Outdates("Content-Encoding") {
			t.Errorf("%q: the request became %q", encodings, out)
		}
	}
}

// A few bytes that stand for many aren't decoded further than to the limit.
func TestDecompressionBomb(t *testing.T) {
	const limit = 1 << 20
	for name := range encoderOf {
		encoding := strings.TrimPrefix(name, "raw ")
		bomb := encoded(t, name, strings.Repeat("0", limit+1))
		if plain, _, ok := decodeBody(encoding, bomb, limit); ok {
			t.Errorf("%s: %d bytes became %d", name, len(bomb), len(plain))
		}
		if plain, _, ok := decodeBody(encoding, bomb, limit+1); !ok || len(plain) != limit+1 {
			t.Errorf("%s: %d bytes became %d", name, len(bomb), len(plain))
		}
	}
}
