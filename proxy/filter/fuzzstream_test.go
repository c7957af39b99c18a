package filter

import (
	"io"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

// FuzzStream filters any bytes as a stream.
func FuzzStream(f *testing.F) {
	f.Add(deltaChunk(`"content":[]`) + ": ping\n\n" + finishChunk("stop") + doneEvent)
	for seed := range uint64(4) {
		_, stream, _ := randomGenerator(seed).answer()
		f.Add(stream)
	}
	f.Fuzz(func(t *testing.T, in string) {
		c := callWithTools(t, "bash", "read")
		out := filterStream(t, c, strings.NewReader(in))
		if got := filterStream(t, c, iotest.OneByteReader(strings.NewReader(in))); got != out {
			t.Fatalf("byte by byte it is\n%q\nnot\n%q", got, out)
		}
		res := httpResponse("text/event-stream", strings.NewReader(in))
		c.Response(res)
		res.Body.(*stream).noShortcut = true
		if got, err := io.ReadAll(res.Body); err != nil || string(got) != out {
			t.Fatalf("without the shortcut it is\n%q\nnot\n%q", got, out)
		}
		step := 1 + len(in)/64
		for at := 0; at < len(in); at += step {
			if got := filterStream(t, c, splitReader(in, at)); got != out {
				t.Fatalf("cut at %d it is\n%q\nnot\n%q", at, got, out)
			}
		}
		if got := filterStream(t, c, strings.NewReader(out)); got != out {
			t.Fatalf("filtered twice it is\n%q\nnot\n%q", got, out)
		}
		if !strings.Contains(in, "choices") && !strings.Contains(in, `\u`) && out != in {
			t.Fatalf("%q has changed into %q", in, out)
		}
		if len(out) > 2*len(in)+1000 {
			t.Fatalf("%d bytes became %d", len(in), len(out))
		}
		before := events(in + "\n\n")
		for _, data := range events(out + "\n\n") {
			var d document
			if !d.parse([]byte(data)) && !slices.Contains(before, data) {
				t.Fatalf("%q came out of %q", data, in)
			}
		}
	})
}

// FuzzCalls makes the same answer as one JSON text and as a stream. A client must
// read the same from both.
func FuzzCalls(f *testing.F) {
	for seed := range uint64(16) {
		f.Add(randomGenerator(seed).data)
	}
	f.Fuzz(func(t *testing.T, data []byte) { checkCalls(t, &generator{data}) })
}

func TestGeneratedCalls(t *testing.T) {
	mended := 0
	for seed := range uint64(500) {
		mended += checkCalls(t, randomGenerator(seed))
	}
	if mended < 150 {
		t.Errorf("%d calls were mended: too few to tell", mended)
	}
}

// checkCalls returns how many calls got their real name.
func checkCalls(t *testing.T, g *generator) (mended int) {
	t.Helper()
	c := callWithTools(t, "bash", "read")
	plain, stream, clean := g.answer()
	body, _ := c.filteredJSON([]byte(plain))
	if body == nil {
		body = []byte(plain)
	}
	want := readPlain(t, body)
	if another, _ := c.filteredJSON([]byte(escaped(plain))); (another == nil) != (string(body) == plain) || another != nil && !reflect.DeepEqual(readPlain(t, another), want) {
		t.Fatalf("written with escapes\n%s\nbecame\n%s", plain, another)
	}
	out := filterStream(t, c, strings.NewReader(stream))
	if clean && (out != stream || string(body) != plain) {
		t.Fatalf("it was clean, and became\n%s\n%s", body, out)
	}
	renamed := func(call clientCall) bool {
		return call.Name != wrapperName && strings.HasPrefix(call.ID, "c") && slices.ContainsFunc(want.Calls, func(w clientCall) bool {
			return w == call && strings.Contains(plain, `"`+w.ID+`","type":"function","function":{"name":"`+wrapperName)
		})
	}
	got := readStream(t, out, renamed)
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("the client has\n%+v\nnot\n%+v\nfrom\n%s\nwhich came as\n%s", got, want, out, stream)
	}
	for _, call := range want.Calls {
		if renamed(call) {
			mended++
		}
	}
	if again := filterStream(t, c, strings.NewReader(out)); again != out {
		t.Fatalf("filtered twice it is\n%s", again)
	}
	if got := filterStream(t, c, iotest.OneByteReader(strings.NewReader(stream))); got != out {
		t.Fatalf("byte by byte it is\n%s", got)
	}
	return mended
}
