package filter

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// conversation returns a request of at least size bytes, as an agent sends it
// late in a session: tools with schemas, and turns of text, tool calls and
// their answers, which are listings, edits and files (those of this package). If
// dirty, each eighth turn has something to mend.
func conversation(tb testing.TB, size int, dirty bool) []byte {
	files, err := filepath.Glob("*.go")
	files = slices.DeleteFunc(files, func(name string) bool { return strings.HasSuffix(name, "_test.go") })
	if err != nil || len(files) == 0 {
		tb.Fatal("no files", err)
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	write := func(before string, v any, after string) {
		b.WriteString(before)
		if err := enc.Encode(v); err != nil {
			tb.Fatal(err)
		}
		b.Truncate(b.Len() - 1)
		b.WriteString(after)
	}
	b.WriteString(`{"model":"databricks-claude-sonnet-4-5","stream":true,"stream_options":{"include_usage":true},"tools":[`)
	for i := range 16 {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"type":"function","function":{"name":"tool_%d","description":"Reads a file.\n\nUsage:\n- \"path\" is absolute.\n- Lines are numbered from 1.","parameters":{"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object","properties":{"path":{"description":"The absolute path","type":"string"},"offset":{"type":"integer","minimum":0,"exclusiveMaximum":9007199254740991},"edits":{"type":"array","items":{"type":"object","properties":{"old":{"type":"string"},"new":{"type":"string"}},"required":["old","new"],"additionalProperties":false}}},"required":["path"],"additionalProperties":false}}}`, i)
	}
	b.WriteString(`],"messages":[{"role":"system","content":"You are a coding agent.\nBe brief."},{"role":"user","content":"Mend the build."}`)
	for i := 0; b.Len() < size; i++ {
		said := "The test fails since the second read starts in the middle of an event. I'll look at the next file, and then at the one that calls it."
		if dirty && i%8 == 0 {
			said = " "
		}
		file := files[i%len(files)]
		source, err := os.ReadFile(file)
		if err != nil {
			tb.Fatal(err)
		}
		lines := strings.SplitAfter(string(source), "\n")
		from := i * 37 % len(lines)
		lines = lines[from:]
		args := map[string]any{"path": "/src/proxy/filter/" + file, "offset": from}
		answer := "<file>\n" + strings.Join(lines, "")
		switch i % 3 {
		case 1:
			args["old"], args["new"] = strings.Join(lines[:len(lines)/2], ""), strings.Join(lines[:len(lines)/3], "")
			answer = "The file /src/proxy/filter/" + file + " has been updated."
		case 2:
			answer = strings.Join(files, "\n")
		}
		text, err := json.Marshal(args)
		if err != nil {
			tb.Fatal(err)
		}
		write(`,{"role":"assistant","content":[{"type":"text","text":`, said, `}],`)
		fmt.Fprintf(&b, `"tool_calls":[{"id":"call_%d","type":"function","function":{"name":"tool_1",`, i)
		write(`"arguments":`, string(text), "}}]}")
		fmt.Fprintf(&b, `,{"role":"tool","tool_call_id":"call_%d",`, i)
		write(`"content":`, answer, "}")
	}
	b.WriteString(`,{"role":"user","content":"Go on."}],"max_tokens":32000}`)
	return b.Bytes()
}

// decodeEncode is what the filter is measured against: encoding/json into a map
// and back.
func decodeEncode(b *testing.B, body []byte) {
	var v any
	if err := json.Unmarshal(body, &v); err != nil {
		b.Fatal(err)
	}
	if _, err := json.Marshal(v); err != nil {
		b.Fatal(err)
	}
}

// compare runs f, and reports how many times as fast it is as peer: by medians
// of runs of each, n times, that take turns. Neither pays for the other's
// garbage.
func compare(b *testing.B, n int, f, peer func()) {
	b.ReportAllocs()
	for b.Loop() {
		f()
	}
	b.StopTimer()
	time1 := func(f func()) time.Duration {
		runtime.GC()
		start := time.Now()
		for range n {
			f()
		}
		return time.Since(start)
	}
	var ours, theirs []time.Duration
	for range 15 {
		ours, theirs = append(ours, time1(f)), append(theirs, time1(peer))
	}
	slices.Sort(ours)
	slices.Sort(theirs)
	b.ReportMetric(float64(theirs[7])/float64(ours[7]), "×encoding/json")
}

func BenchmarkRequest(b *testing.B) {
	for _, size := range []int{1 << 20, 4 << 20} {
		for _, kind := range []string{"clean", "dirty", "gemini"} {
			b.Run(fmt.Sprintf("%s-%dMB", kind, size>>20), func(b *testing.B) {
				body := conversation(b, size, kind == "dirty")
				model := ""
				if kind == "gemini" { // all of the tools' schemas are written anew
					model = "databricks-gemini-3-1-pro"
				}
				b.SetBytes(int64(len(body)))
				buffer := make([]byte, 0, 2*len(body))
				spare := func(int) []byte { return buffer } // as the proxy has them, from the request before
				out, _ := Request(ChatCompletions, model, http.Header{}, body, nil)
				if changed := len(out) != len(body); changed != (kind != "clean") {
					b.Fatalf("changed: %v", changed)
				}
				compare(b, 4, func() { Request(ChatCompletions, model, nil, body, spare) }, func() { decodeEncode(b, body) })
			})
		}
	}
}

const textEvent = `data: {"model":"claude-sonnet-4-5","choices":[{"delta":{"role":"assistant","content":" the next file, and \"then\""},"index":0,"finish_reason":null}],"usage":{"prompt_tokens":12034,"completion_tokens":null,"total_tokens":null},"object":"chat.completion.chunk","id":"msg_bdrk_01XZKCXvCrMicqpbpDCE9gsS","created":1774000000}` + "\n\n"

// repeatingReader reads first, and then the same text again and again, in one Read each.
type repeatingReader struct{ first, text string }

func (l *repeatingReader) Read(p []byte) (int, error) {
	if l.first == "" {
		return copy(p, l.text), nil
	}
	n := copy(p, l.first)
	l.first = l.first[n:]
	return n, nil
}

// BenchmarkStream reads one event of a stream per Read, as they come from a
// model.
func BenchmarkStream(b *testing.B) {
	first := callChunk(`{"index":0,"id":"c1","type":"function","function":{"name":"bash","arguments":""}}`)
	piece := callChunk(`{"index":0,"function":{"arguments":"{\"path\":\"/src/main"}}`)
	reasoning := deltaChunk(`"content":[{"type":"reasoning","summary":[{"type":"summary_text","text":"The next file"}]}]`)
	for name, event := range map[string]string{"text": textEvent, "arguments": piece, "reasoning": reasoning} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(event)))
			src := &repeatingReader{text: event}
			if event == piece {
				src.first = first
			}
			res := httpResponse("text/event-stream", src)
			callWithTools(b, "bash").Response(res)
			p := make([]byte, 32<<10)
			read := func() {
				if _, err := res.Body.Read(p); err != nil {
					b.Fatal(err)
				}
			}
			var out bytes.Buffer
			compare(b, 500, read, func() {
				var v any
				if err := json.Unmarshal([]byte(event[len("data: "):]), &v); err != nil {
					b.Fatal(err)
				}
				out.Reset()
				out.WriteString("data: ")
				text, err := json.Marshal(v)
				if err != nil {
					b.Fatal(err)
				}
				out.Write(text)
				out.WriteString("\n\n")
			})
		})
	}
}
