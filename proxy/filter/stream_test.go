package filter

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
)

// callWithTools is a call whose request has these tools.
func callWithTools(tb testing.TB, tools ...string) Call {
	tb.Helper()
	var b strings.Builder
	b.WriteString(`{"tools":[`)
	for i, name := range tools {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(`{"type":"function","function":{"name":"` + name + `"}}`)
	}
	_, c := Request(ChatCompletions, "", nil, []byte(b.String()+"]}"), nil)
	return c
}

func httpResponse(contentType string, body io.Reader) *http.Response {
	return &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {contentType}}, Body: io.NopCloser(body), ContentLength: -1}
}

// filterStream returns what c.Response makes of a stream.
func filterStream(tb testing.TB, c Call, in io.Reader) string {
	tb.Helper()
	res := httpResponse("text/event-stream; charset=utf-8", in)
	c.Response(res)
	out, err := io.ReadAll(res.Body)
	if err != nil {
		tb.Fatal(err)
	}
	return string(out)
}

// splitReader reads s in two pieces.
func splitReader(s string, at int) io.Reader {
	return io.MultiReader(strings.NewReader(s[:at]), strings.NewReader(s[at:]))
}

type streamCase struct {
	name     string
	in, want string // want is in if it is empty
}

// runStreams runs the cases with the stream whole, cut at every byte, and byte
// by byte, and filters what comes out once more.
func runStreams(t *testing.T, c Call, cases []streamCase) {
	t.Helper()
	for _, sc := range cases {
		t.Run(sc.name, func(t *testing.T) {
			if sc.want == "" {
				sc.want = sc.in
			}
			if got := filterStream(t, c, strings.NewReader(sc.in)); got != sc.want {
				t.Fatalf("\n got %s\nwant %s", got, sc.want)
			}
			for at := range sc.in {
				if got := filterStream(t, c, splitReader(sc.in, at)); got != sc.want {
					t.Fatalf("cut at %d it is\n%s", at, got)
				}
			}
			if got := filterStream(t, c, iotest.OneByteReader(strings.NewReader(sc.in))); got != sc.want {
				t.Fatalf("byte by byte it is\n%s", got)
			}
			if got := filterStream(t, c, strings.NewReader(sc.want)); got != sc.want {
				t.Fatalf("filtered twice it is\n%s", got)
			}
		})
	}
}

// deltaChunk, finishChunk and callChunk are events of a stream.
func deltaChunk(members string) string {
	return `data: {"id":"x","choices":[{"index":0,"delta":{` + members + `},"finish_reason":null}]}` + "\n\n"
}

func finishChunk(reason string) string {
	return `data: {"id":"x","choices":[{"index":0,"delta":{},"finish_reason":"` + reason + `"}]}` + "\n\n"
}

func callChunk(elements string) string { return deltaChunk(`"tool_calls":[` + elements + `]`) }

const doneEvent = "data: [DONE]\n\n"

func TestCleanStreams(t *testing.T) {
	said := deltaChunk(`"role":"assistant","content":"Grüße \u2028 \"tool_calls\" é"`)
	normal := callChunk(`{"index":0,"id":"c1","type":"function","function":{"name":"bash","arguments":""}}`) +
		callChunk(`{"index":0,"function":{"arguments":"{\"cmd\":"}}`) + callChunk(`{"index":0,"function":{"arguments":"\"ls\"}"}}`)
	runStreams(t, callWithTools(t, "bash"), []streamCase{
		{"text", said + said + finishChunk("stop") + doneEvent, ""},
		{"calls", said + normal + finishChunk("tool_calls") + doneEvent, ""},
		{"name: null on later chunks", callChunk(`{"index":0,"id":"c1","type":"function","function":{"name":"bash","arguments":""}}`) + callChunk(`{"index":0,"id":null,"type":null,"function":{"name":null,"arguments":"{}"}}`) + finishChunk("tool_calls") + doneEvent, ""},
		{"CRLF", strings.ReplaceAll(said+normal+doneEvent, "\n", "\r\n"), ""},
		{"CR", strings.ReplaceAll(said+normal+doneEvent, "\n", "\r"), ""},
		{"all three", said + strings.ReplaceAll(said, "\n", "\r\n") + strings.ReplaceAll(said, "\n", "\r") + said, ""},
		{"no space after data:", strings.ReplaceAll(said+normal+doneEvent, "data: ", "data:"), ""},
		{"comments, event, id, retry", ": ping\n\nevent: message\nid: 7\nretry: 10\n" + said + ":\n\n" + doneEvent, ""},
		{"many data lines", "data: {\"choices\":\ndata: [{\"delta\":{\"content\":\"a\"}}\ndata:]}\n\n", ""},
		{"many data lines that are no JSON", "data\ndata:\ndata: a\ndatax: b\n\n", ""},
		{"U+2028 and U+0085", "data: {\"choices\":[{\"delta\":{\"content\":\"a\u2028b\u2029c\u0085\"}}]}\n\n", ""},
		{"invalid UTF-8", "data: {\"choices\":[{\"delta\":{\"content\":\"\xff\xc3\"}}]}\n\n", ""},
		{"a byte order mark", "\ufeff" + said, ""},
		{"null for choices, delta, tool_calls", `data: {"choices":null}` + "\n\n" + `data: {"choices":[null,{"delta":null}]}` + "\n\n" + deltaChunk(`"content":null,"tool_calls":null`) + doneEvent, ""},
		{"empty tool_calls", deltaChunk(`"tool_calls":[]`) + finishChunk("stop") + doneEvent, ""},
		{"other kinds", "data: 1\n\ndata: []\n\ndata: {\"choices\":{}}\n\ndata: {\"choices\":[[],{\"delta\":[],\"index\":-1}]}\n\n" + callChunk(`1,null,{},{"index":"a"},{"index":1.5,"function":7}`), ""},
		{"no JSON", "data: {\"choices\":[\n\nhello\n\n<html>\n\n", ""},
		{"usage", `data: {"choices":[],"usage":{"total_tokens":3}}` + "\n\n" + doneEvent, ""},
		{"error", `data: {"error":{"message":"overloaded"}}` + "\n\n", ""},
		{"no end", said + "data: {\"choices\":[{\"delta\":{\"con", ""},
		{"no blank line at the end", said + "data: [DONE]\n", ""},
		{"blank lines only", "\n\n\r\n\r\r\n\n", ""},
		{"empty", "", ""},
		{"a tool that isn't a function", callChunk(`{"index":0,"id":"c1","type":"custom","custom":{"name":"x","input":""}}`) + callChunk(`{"index":0,"custom":{"input":"a"}}`) + finishChunk("tool_calls"), ""},
	})
}

func TestFinishReason(t *testing.T) {
	call := callChunk(`{"index":0,"id":"c1","type":"function","function":{"name":"bash","arguments":"{}"}}`)
	runStreams(t, callWithTools(t, "bash"), []streamCase{
		{"stop in a chunk of its own", call + finishChunk("stop") + doneEvent, call + finishChunk("tool_calls") + doneEvent},
		{"stop with the call", `data: {"choices":[{"delta":{"tool_calls":[{"index":0,"id":"c1","function":{"name":"bash"}}]},"finish_reason":"stop"}]}` + "\n\n", `data: {"choices":[{"delta":{"tool_calls":[{"index":0,"id":"c1","function":{"name":"bash"}}]},"finish_reason":"tool_calls"}]}` + "\n\n"},
		{"stop, nothing called", deltaChunk(`"content":"a"`) + finishChunk("stop") + doneEvent, ""},
		{"length", call + finishChunk("length") + doneEvent, ""},
		{"another choice called", call + `data: {"choices":[{"index":1,"delta":{},"finish_reason":"stop"}]}` + "\n\n", ""},
		{"many data lines", call + "id: 1\ndata: {\"choices\":[{\"delta\":{},\nid: 2\ndata:\"finish_reason\"\ndata: :\"stop\"}]}\n: x\n\n", ""},
		{"a CR within the data", call + "data: {\"choices\":[{\"delta\":{},\r\"finish_reason\":\"stop\"}]}\n\n", ""},
		{"no blank line at the end", call + `data: {"choices":[{"delta":{},"finish_reason":"stop"}]}`, call + `data: {"choices":[{"delta":{},"finish_reason":"tool_calls"}]}`},
	})
}

func TestContentParts(t *testing.T) {
	runStreams(t, callWithTools(t), []streamCase{
		{"text", deltaChunk(`"content":[{"type":"text","text":"a\n\"b\""},{"type":"text","text":"c","thoughtSignature":"s"}]`), deltaChunk(`"content":"a\n\"b\"c"`)},
		{"nothing", deltaChunk(`"content":[]`), deltaChunk(`"content":""`)},
		{"reasoning", deltaChunk(`"content":[{"type":"reasoning","summary":[{"type":"summary_text","text":"hm"},{"type":"summary_text","text":"m","signature":""}]}]`), deltaChunk(`"content":"","reasoning_content":"hmm"`)},
		{"both", deltaChunk(`"content":[{"type":"reasoning","summary":"hm"},{"type":"text","text":"a"},{"type":"reasoning","text":"m"}],"role":"assistant"`), deltaChunk(`"content":"a","reasoning_content":"hmm","role":"assistant"`)},
		{"reasoning there already", deltaChunk(`"reasoning_content":"so ","content":[{"type":"reasoning","summary":[{"type":"summary_text","text":"hm"}]}]`), deltaChunk(`"reasoning_content":"so hm","content":""`)},
		{"reasoning null", deltaChunk(`"content":[{"type":"reasoning","summary":[]}],"reasoning_content":null`), deltaChunk(`"content":"","reasoning_content":""`)},
		{
			"U+2028 and CRLF",
			"data: {\"choices\":[{\"delta\":{\"content\":[{\"type\":\"text\",\"text\":\"a\u2028b\"}]}}]}\r\n\r\ndata: [DONE]\r\n\r\n",
			"data: {\"choices\":[{\"delta\":{\"content\":\"a\u2028b\"}}]}\r\n\r\ndata: [DONE]\r\n\r\n",
		},
		{"another part", deltaChunk(`"content":[{"type":"image_url"},{"type":"text","text":"a"}]`), ""},
		{"not understood", deltaChunk(`"content":["a"]`) + deltaChunk(`"content":[{"text":"a"}]`) + deltaChunk(`"content":[{"type":"text","text":1}]`) + deltaChunk(`"content":{"type":"text"}`) + deltaChunk(`"content":[],"content":"a"`), ""},
	})
}

// TestNothingIsHeldBack: an event that needn't be held back leaves in the Read in
// which its last byte came.
func TestNothingIsHeldBack(t *testing.T) {
	src, feed := io.Pipe()
	res := httpResponse("text/event-stream", src)
	callWithTools(t, "bash").Response(res)
	text := deltaChunk(`"content":"a"`)
	read := func(want string) {
		t.Helper()
		got := make([]byte, len(want))
		if _, err := io.ReadFull(res.Body, got); err != nil || string(got) != want {
			t.Fatalf("got %q, %v, want %q", got, err, want)
		}
	}
	send := func(s string) { go func() { _, _ = io.WriteString(feed, s) }() }
	send(text)
	read(text)
	send(": ping\n\n" + text[:20])
	read(": ping\n\n")
	send(text[20:])
	read(text)
	send("id: 1\r\n\r\n")
	read("id: 1\r\n\r\n")
	send("data: {}\r\r")
	read("data: {}\r\r")
	send("\n\n")
	read("\n\n")
	wrapped := callChunk(`{"index":0,"id":"c1","type":"function","function":{"name":"databricks-tool-call","arguments":"{"}}`)
	send(wrapped + ": ping\n\n")
	read(": ping\n\n")
	if err := res.Body.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestCutStream: a stream that breaks off passes on what came, and then the error.
func TestCutStream(t *testing.T) {
	cut := errors.New("cut")
	held := callChunk(`{"index":0,"id":"c1","type":"function","function":{"name":"databricks-tool-call","arguments":"{"}}`) + deltaChunk(`"content":"a"`) + "data: {"
	res := httpResponse("text/event-stream", io.MultiReader(strings.NewReader(held), iotest.ErrReader(cut)))
	callWithTools(t, "bash").Response(res)
	got, err := io.ReadAll(res.Body)
	if string(got) != held || !errors.Is(err, cut) {
		t.Fatalf("got %q, %v", got, err)
	}
}

func TestLargeEvents(t *testing.T) {
	const limit = 2000
	run := func(in string, read func(string) io.Reader) string {
		res := httpResponse("text/event-stream", read(in))
		callWithTools(t, "bash").Response(res)
		res.Body.(*stream).limit = limit
		out, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	big := strings.Repeat("x", limit)
	call := callChunk(`{"index":0,"id":"c1","type":"function","function":{"name":"bash","arguments":"{}"}}`)
	wrap := callChunk(`{"index":0,"id":"c1","type":"function","function":{"name":"databricks-tool-call","arguments":""}}`)
	piece := func(s string) string { return callChunk(`{"index":0,"function":{"arguments":"` + s + `"}}`) }
	var many strings.Builder
	for range limit / 100 {
		many.WriteString(piece("                    "))
	}
	for name, c := range map[string]streamCase{
		"an event over the limit passes":              {in: call + `data: {"choices":[{"delta":{"content":"` + big + `"},"finish_reason":"stop"}]}` + "\n\n" + finishChunk("stop"), want: call + `data: {"choices":[{"delta":{"content":"` + big + `"},"finish_reason":"stop"}]}` + "\n\n" + finishChunk("tool_calls")},
		"with CRLF":                                   {in: "data: " + big + "\r\n\r\n" + "data: " + big + "\r\r\r\n\n" + call + finishChunk("stop"), want: "data: " + big + "\r\n\r\n" + "data: " + big + "\r\r\r\n\n" + call + finishChunk("tool_calls")},
		"what is held back leaves before it":          {in: wrap + "data: " + big + "\n\n" + piece(`{\"name\":\"bash\"}`) + finishChunk("stop"), want: wrap + "data: " + big + "\n\n" + piece(`{\"name\":\"bash\"}`) + finishChunk("tool_calls")},
		"too much is held back":                       {in: wrap + piece(`{`) + many.String() + piece(`\"name\":\"bash\"}`) + finishChunk("stop"), want: wrap + piece(`{`) + many.String() + piece(`\"name\":\"bash\"}`) + finishChunk("tool_calls")},
		"an event over the limit that has no end":     {in: wrap + "data: " + big + big},
		"an event over the limit that ends in a line": {in: wrap + "data: " + big + "\r"},
	} {
		t.Run(name, func(t *testing.T) {
			if c.want == "" {
				c.want = c.in
			}
			whole := func(s string) io.Reader { return strings.NewReader(s) }
			for how, read := range map[string]func(string) io.Reader{
				"whole":        whole,
				"byte by byte": func(s string) io.Reader { return iotest.OneByteReader(whole(s)) },
				"by halves":    func(s string) io.Reader { return iotest.HalfReader(whole(s)) },
			} {
				if got := run(c.in, read); got != c.want {
					t.Errorf("%s: got\n%s\nwant\n%s", how, got, c.want)
				}
			}
		})
	}
}
