package filter

import (
	"bytes"
	"compress/gzip"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// lender lends memory to Request, of this many bytes, and remembers the buffers.
type lender struct {
	left int
	lent [][]byte
}

func (l *lender) lend(n int) []byte {
	if l.left -= n; l.left < 0 {
		l.left += n
		return nil
	}
	buf := make([]byte, 0, n)
	l.lent = append(l.lent, buf)
	return buf
}

// gzipped is a compressed body, with its header.
func gzipped(tb testing.TB, text string) (http.Header, []byte) {
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.BestSpeed)
	if err != nil {
		tb.Fatal(err)
	}
	if _, err := w.Write([]byte(text)); err != nil {
		tb.Fatal(err)
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return http.Header{"Content-Encoding": {"gzip"}}, b.Bytes()
}

// TestUnfiltered: what exceeds a bound passes as it came, and the call says so.
func TestUnfiltered(t *testing.T) {
	dirty := `{"role":"user","content":" "}`
	nested := func(depth int) string { return strings.Repeat("[", depth) + strings.Repeat("]", depth) }
	long := func(n int) string { return chat(dirty + `,"` + strings.Repeat("x", n) + `"`) }
	for _, c := range []struct {
		name, body string
		compressed bool
		want       string
	}{
		{"filtered", chat(dirty), false, ""},
		{"compressed", chat(dirty), true, ""},
		{"clean", chat(hi), false, ""},
		{"no JSON", chat(dirty) + "x", false, ""},
		{"long", long(maxBody), false, "size"},
		{"long once inflated", long(maxBody), true, "size"},
		{"deep", chat(dirty + "," + nested(2*maxDepth)), false, "depth"},
		{"deep by definitions", geminiTool(doublingSchema(2 * maxRefDepth)), false, "depth"},
		{"many values", chat(dirty + strings.Repeat(",1", maxNodes)), true, "values"},
		{"growth of schemas", geminiTool(doublingSchema(40)), false, "growth"},
		{"growth by answers", chat(`{"role":"assistant","tool_calls":[` + list(300_000, `{"id":""}`) + `]},` + hi), false, "growth"},
	} {
		var h http.Header
		body := []byte(c.body)
		if c.compressed {
			h, body = gzipped(t, c.body)
		}
		out, call := Request(ChatCompletions, "", h, body, nil)
		if got := call.Unfiltered(); got != c.want {
			t.Errorf("%s: the bound is %q, not %q", c.name, got, c.want)
		}
		if c.want != "" && (&out[0] != &body[0] || call.Outdates("Content-Encoding") || call.Outdates("Etag")) {
			t.Errorf("%s: it didn't pass as it came", c.name)
		}
	}
	if _, call := Request(ChatCompletions, "", nil, []byte(chat(dirty)), nil); call.Unfiltered() != "" {
		t.Errorf("the bound of the request before, %q, is the next one's", call.Unfiltered())
	}
}

// TestLentMemory: what a compressed body becomes is read into memory that was lent.
func TestLentMemory(t *testing.T) {
	clean := chat(strings.Repeat(hi+",", 1000) + `{"role":"user","content":"` + strings.Repeat("x", 1<<20) + `"}`)
	for name, text := range map[string]string{"clean": clean, "dirty": strings.Replace(clean, `"hi"`, `" "`, 1)} {
		h, body := gzipped(t, text)
		memory := lender{left: 100 << 20}
		out, call := Request(ChatCompletions, "", h, body, memory.lend)
		changed := &out[0] != &body[0]
		if changed != (name == "dirty") || call.Unfiltered() != "" {
			t.Fatalf("%s: changed: %v, %q", name, changed, call.Unfiltered())
		}
		if n := len(memory.lent); changed && (n == 0 || &out[0] != &memory.lent[n-1][:1][0]) {
			t.Errorf("%s: the body doesn't lie in what was lent last", name)
		}
		total := 0
		for _, buf := range memory.lent {
			total += cap(buf)
		}
		if total < len(text) || total > 6*len(text) {
			t.Errorf("%s: %d bytes were lent for a text of %d", name, total, len(text))
		}
		if !slices.ContainsFunc(memory.lent, func(buf []byte) bool { return bytes.HasPrefix(buf[:cap(buf)], []byte(text)) }) {
			t.Errorf("%s: the text isn't in what was lent", name)
		}
	}
}

// TestNoMemory: a body for whose text no memory is lent passes as it came, and takes none.
func TestNoMemory(t *testing.T) {
	h, body := gzipped(t, chat(`{"role":"user","content":" "},"`+strings.Repeat("x", 50<<20)+`"`))
	for _, left := range []int{0, 8 << 20} {
		memory := lender{left: left}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		out, call := Request(ChatCompletions, "", h, body, memory.lend)
		runtime.ReadMemStats(&after)
		if &out[0] != &body[0] || call.Unfiltered() != "memory" {
			t.Errorf("with %d bytes left: %q", left, call.Unfiltered())
		}
		if took := int(after.TotalAlloc - before.TotalAlloc); took > left+1<<20 {
			t.Errorf("with %d bytes left it took %d", left, took)
		}
	}
}

// TestUnfilteredResponse: Response says which bound a response exceeds.
func TestUnfilteredResponse(t *testing.T) {
	answer := func(before string) string {
		return `{` + before + `"choices":[{"finish_reason":"stop","message":{"tool_calls":[1]}}]}`
	}
	long := answer(`"x":"` + strings.Repeat("x", maxResponse) + `",`)
	for _, c := range []struct {
		name, body string
		length     bool
		compressed bool
		want       string
	}{
		{"filtered", answer(""), true, false, ""},
		{"compressed", answer(""), true, true, ""},
		{"no JSON", "x", true, false, ""},
		{"said to be long", long, true, false, "size"},
		{"long", long, false, false, "size"},
		{"long once inflated", long, true, true, "size"},
		{"deep", answer(`"x":` + strings.Repeat("[", 2*maxDepth) + strings.Repeat("]", 2*maxDepth) + ","), true, false, "depth"},
	} {
		body, h := []byte(c.body), http.Header{}
		if c.compressed {
			h, body = gzipped(t, c.body)
		}
		res := httpResponse("application/json", bytes.NewReader(body))
		if res.ContentLength = -1; c.length {
			res.ContentLength = int64(len(body))
		}
		if c.compressed {
			res.Header.Set("Content-Encoding", h.Get("Content-Encoding"))
		}
		if got := callWithTools(t).Response(res); got != c.want {
			t.Errorf("%s: the bound is %q, not %q", c.name, got, c.want)
		}
		var out bytes.Buffer
		if _, err := out.ReadFrom(res.Body); err != nil || c.want != "" && !bytes.Equal(out.Bytes(), body) {
			t.Errorf("%s: it didn't pass as it came, %v", c.name, err)
		}
	}
}

// decodeBody inflates a body into memory without a bound.
func decodeBody(encoding string, body []byte, limit int) (decoded []byte, wasEncoded, ok bool) {
	decoded, _ = inflate(encoding, body, limit, allocate)
	return decoded, !isIdentity(encoding), decoded != nil
}

// TestFewInflateAtOnce: what a decoder needs for itself isn't lent, so that few may work
// at a time.
func TestFewInflateAtOnce(t *testing.T) {
	body := encoded(t, "br", `{"messages":[{"role":"user","content":"`+strings.Repeat("x", 1<<20)+`"}]}`)
	var now, most atomic.Int32
	var asking sync.WaitGroup
	for range 16 {
		asking.Go(func() {
			first := true
			Request(ChatCompletions, "", http.Header{"Content-Encoding": {"br"}}, body, func(n int) []byte {
				if first {
					first = false
					if n := now.Add(1); n > most.Load() {
						most.Store(n)
					}
					for range 100 {
						runtime.Gosched() // for another, if there may be one
					}
					defer now.Add(-1)
				}
				return make([]byte, 0, n)
			})
		})
	}
	asking.Wait()
	if n := int(most.Load()); n == 0 || n > runtime.GOMAXPROCS(0) {
		t.Errorf("%d at once", n)
	}
}
