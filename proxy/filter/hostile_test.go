package filter

import (
	"flag"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
)

// A hostileRequest is a request whose work or size could grow faster than the body: body
// makes one of about n bytes.
type hostileRequest struct {
	name string
	api  API
	body func(n int) string
}

var hostileRequests = []hostileRequest{
	{"references to as many definitions", ChatCompletions, func(n int) string {
		return geminiTool(`{"properties":{` + list(n/2, `"p%[1]d":{"$ref":"#/$defs/d%[1]d"}`) + `},"$defs":{` + list(n/2, `"d%d":{}`) + `}}`)
	}},
	{"keys of two schemas in a chain", ChatCompletions, func(n int) string {
		return geminiTool(`{"$ref":"#/$defs/A","$defs":{"A":{` + list(n/2, `"b%d":0`) + `}},` + list(n/2, `"a%d":0`) + `}`)
	}},
	{"a list of types behind many references", ChatCompletions, func(n int) string {
		return geminiTool(`{"$defs":{"A":{"type":[` + list(n/2, `"s%d"`) + `]}},"properties":{` + list(n/2, `"%d":{"type":1,"type":2,"$ref":"#/$defs/A"}`) + `}}`)
	}},
	{"definitions that stand for more, in many tools", ChatCompletions, func(n int) string {
		return `{"model":"gemini","tools":[` + strings.Repeat(`{"function":{"parameters":`+doublingSchema(9)+`}},`, 1+n/1000) + `{}]}`
	}},
	{"answers to many calls", ChatCompletions, func(n int) string {
		return chat(`{"role":"assistant","tool_calls":[` + list(min(n/2, 4500), `{"id":"c%04d"}`) + `]},` + list(n/2, `{"role":"tool","tool_call_id":"x%04d"}`))
	}},
	{"escaped ids", ChatCompletions, func(n int) string {
		id := `"\u0063` + strings.Repeat("x", n/500) + `%03d"`
		return chat(`{"role":"assistant","tool_calls":[` + list(n/2, `{"id":`+id+`}`) + `]},` + list(n/2, `{"role":"tool","tool_call_id":`+id+`}`))
	}},
	{"long ids that nothing answers", AnthropicMessages, func(n int) string {
		id := `"` + strings.Repeat("x", n/250) + `%d"`
		return chat(`{"role":"assistant","content":[` + list(n, `{"type":"tool_use","id":`+id+`}`) + `]},` + hi)
	}},
	{"calls that nothing answers", ChatCompletions, func(n int) string {
		return chat(strings.Repeat(`{"role":"assistant","tool_calls":[{"id":""}]},`, n/46) + hi)
	}},
	{"calls of one message that nothing answers", ChatCompletions, func(n int) string {
		return chat(`{"role":"assistant","tool_calls":[` + list(n, `{"id":""}`) + `]},` + hi)
	}},
	{"messages of one byte", ChatCompletions, func(n int) string { return chat(strings.Repeat("1,", n/2) + "1") }},
	{"turns of nothing", ChatCompletions, func(n int) string { return chat(list(n, `{"role":"assistant"}`) + "," + hi) }},
	{"blank blocks", AnthropicMessages, func(n int) string {
		return chat(`{"role":"user","content":[{"type":"text","text":"x"},` + list(n, `{"type":"text"}`) + `]}`)
	}},
	{"blank results", AnthropicMessages, func(n int) string {
		return chat(toolUse1 + `,{"role":"user","content":[` + list(n, `{"type":"tool_result","tool_use_id":"t1","content":[]}`) + `]}`)
	}},
	{"escaped white space", ChatCompletions, func(n int) string {
		return chat(`{"role":"user","content":"` + strings.Repeat(`\u0020`, n/6) + `"}`)
	}},
	{"escaped keys", ChatCompletions, func(n int) string { return chat(`{` + list(n, `"\u0061%d":0`) + `},` + hi) }},
	{"backslashes", ChatCompletions, func(n int) string {
		return chat(`{"role":"user","content":" ` + strings.Repeat(`\\\"`, n/4) + `"},{"role":"user"}`)
	}},
	{"keys that are refused", ChatCompletions, func(n int) string {
		return geminiTool(`{` + strings.Repeat(`"pattern":0,`, n/12) + `"type":"object"}`)
	}},
	{"small schemas", ChatCompletions, func(n int) string {
		return `{"model":"gemini","tools":[` + list(n, `{"input_schema":{"pattern":0}}`) + `]}`
	}},
	{"nested schemas", ChatCompletions, func(n int) string {
		deep := strings.Repeat(`{"items":`, 200) + `{"pattern":0}` + strings.Repeat("}", 200)
		return geminiTool(`{"anyOf":[` + strings.Repeat(deep+",", n/2000) + `{}]}`)
	}},
	{"ids of Gemini's calls", GeminiGenerate, func(n int) string {
		return `{"contents":[{"parts":[` + list(n, `{"functionCall":{"id":0}}`) + `]}]}`
	}},
}

// geminiTool is a request to Gemini with a tool of this schema.
func geminiTool(schema string) string {
	return `{"model":"gemini","tools":[{"function":{"parameters":` + schema + `}}]}`
}

// doublingSchema is a schema of which each definition uses the next one twice.
func doublingSchema(depth int) string {
	var defs strings.Builder
	for i := range depth {
		fmt.Fprintf(&defs, `"A%d":{"anyOf":[{"$ref":"#/$defs/A%d"},{"$ref":"#/$defs/A%d"}]},`, i, i+1, i+1)
	}
	return fmt.Sprintf(`{"$ref":"#/$defs/A0","$defs":{%s"A%d":{"description":"%s"}}}`, defs.String(), depth, strings.Repeat("x", 500))
}

// list makes elements of about n bytes together. format may hold their numbers.
func list(n int, format string) string {
	if !strings.Contains(format, "%") {
		return strings.Repeat(format+",", n/(len(format)+1)) + format
	}
	var b strings.Builder
	for i := 0; i == 0 || b.Len() < n; i++ {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, format, i)
	}
	return b.String()
}

// A hostileAnswer is the same for answers: body makes one to a request with names
// tools, of about n bytes.
type hostileAnswer struct {
	name  string
	media string
	tools func(n int) string
	body  func(n int) string
}

var hostileAnswers = []hostileAnswer{
	{"calls of many tools", "application/json", manyTools, func(n int) string {
		return `{"choices":[{"message":{"tool_calls":[` + list(n, wrappedCall(`\"name\":\"x%d\"`)) + `]}}]}`
	}},
	{"calls in many events", "text/event-stream", manyTools, func(n int) string {
		return strings.ReplaceAll(list(n, "data: "+`{"choices":[{"delta":{"tool_calls":[`+wrappedCall(`\"name\":\"x%d\"`)+`]}}]}`+"\n\n"), "\n,", "\n")
	}},
	{"events after many calls", "text/event-stream", oneTool, func(n int) string {
		return callChunk(list(5000, `{"index":%d,"id":"c","function":{"name":"a"}}`)) + strings.Repeat("data:{}\n\n", n/9)
	}},
	{"held back events", "text/event-stream", oneTool, func(n int) string {
		return callChunk(list(5000, `{"index":%d,"id":"c","function":{"name":"databricks-tool-call"}}`)) + strings.Repeat("data:{}\n\n", n/9)
	}},
	{"pieces of arguments", "text/event-stream", oneTool, func(n int) string {
		piece := callChunk(`{"index":0,"function":{"arguments":"["}}`)
		return callChunk(`{"index":0,"id":"c","function":{"name":"databricks-tool-call","arguments":"{\"a\":"}}`) + strings.Repeat(piece, n/len(piece))
	}},
	{"elements of a chunk", "text/event-stream", oneTool, func(n int) string {
		return callChunk(list(5000, `{"index":%d,"id":"c","function":{"name":"a"}}`)) + callChunk(list(min(n, 7<<20), `{"index":9999}`))
	}},
	{"choices", "text/event-stream", oneTool, func(n int) string {
		return strings.Repeat(`data:{"choices":[`+list(100, `{"index":%d,"delta":{"tool_calls":[0]}}`)+"]}\n\n", n/140)
	}},
	{"half pairs", "application/json", oneTool, func(n int) string {
		return `{"choices":[{"message":{"tool_calls":[` + strings.Replace(wrappedCall(`\"name\":\"bash\",\"a\":\"`+strings.Repeat("\xed\xa0\x80", n/3)+`\"`), "%d", "1", 1) + `]}}]}`
	}},
	{"content parts", "application/json", oneTool, func(n int) string {
		return `{"choices":[{"message":{"content":[` + list(n, `{"type":"text"}`) + `]}}]}`
	}},
	{"line ends", "text/event-stream", oneTool, func(n int) string { return strings.Repeat("\r\n", n/2) }},
	{"a line", "text/event-stream", oneTool, func(n int) string { return strings.Repeat("\r", n) }},
}

func oneTool(int) string     { return `{"name":"bash"}` }
func manyTools(n int) string { return list(min(n, maxKeptText), `{"name":"x%d"}`) }

// wrappedCall is a call whose name is among its arguments.
func wrappedCall(args string) string {
	return `{"function":{"name":"databricks-tool-call","arguments":"{` + args + `}"}}`
}

// answer filters the answer of about n bytes, as its client reads it.
func (h hostileAnswer) filter(tb testing.TB, call Call, body string) int {
	res := httpResponse(h.media, strings.NewReader(body))
	call.Response(res)
	n, err := io.Copy(io.Discard, res.Body)
	if err != nil {
		tb.Fatal(err)
	}
	return int(n)
}

// BenchmarkHostile shows whether the work grows faster than the body: compare the ns/byte
// of the two sizes.
func BenchmarkHostile(b *testing.B) {
	const small, large = 1 << 20, 4 << 20
	for _, h := range hostileRequests {
		for _, n := range []int{small, large} {
			body := []byte(h.body(n))
			reportPerByte(b, fmt.Sprintf("%s/%dMB", h.name, n>>20), len(body), func() {
				Request(h.api, modelOf(h.api), nil, body, nil)
			})
		}
	}
	for _, h := range hostileAnswers {
		for _, n := range []int{small, large} {
			tools, body := `{"tools":[`+h.tools(n)+`]}`, h.body(n)
			reportPerByte(b, fmt.Sprintf("%s/%dMB", h.name, n>>20), len(body), func() {
				_, call := Request(ChatCompletions, "", nil, []byte(tools), nil)
				h.filter(b, call, body)
			})
		}
	}
}

func reportPerByte(b *testing.B, name string, n int, f func()) {
	b.Run(name, func(b *testing.B) {
		for b.Loop() {
			f()
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/byte")
		b.ReportMetric(0, "ns/op")
	})
}

// modelOf is the model that a request's path names.
func modelOf(api API) string {
	if api == GeminiGenerate {
		return "gemini"
	}
	return ""
}

// FuzzWork repeats two pieces of JSON in places where a request has many of them. No body
// may take much time for its size, or grow much. Time is looked at only while fuzzing.
func FuzzWork(f *testing.F) {
	places := []struct {
		api                   API
		before, middle, after string
	}{
		{ChatCompletions, `{"messages":[`, ``, `{}]}`},
		{ChatCompletions, `{"messages":[{"role":"assistant","tool_calls":[`, `{"id":"c"}]},`, `{"role":"tool","tool_call_id":"c"}]}`},
		{AnthropicMessages, `{"messages":[{"role":"assistant","content":[`, `{}]},{"role":"user","content":[`, `{}]}]}`},
		{AnthropicMessages, `{"system":[`, `{}],"messages":[`, `{}]}`},
		{ChatCompletions, `{"model":"gemini","tools":[`, ``, `{}]}`},
		{ChatCompletions, `{"model":"gemini","tools":[{"input_schema":{"anyOf":[`, `{}],"$defs":{`, `"A":{"anyOf":[{"$ref":"#"},{"type":"integer"}]}}}}]}`},
		{ChatCompletions, `{"model":"gemini","tools":[{"input_schema":{"$ref":"#/$defs/A",`, `"$defs":{"A":{`, `"a":0}}}}]}`},
		{GeminiGenerate, `{"contents":[{"parts":[`, ``, `{}]}]}`},
	}
	for place := range places {
		f.Add(uint8(place), uint16(100), `{"role":"assistant","tool_calls":[{"id":""}]},`, uint16(9), `{"type":"text"},`)
		f.Add(uint8(place), uint16(250), `{"id":"\u0063"},`, uint16(5000), `{"role":"tool","tool_call_id":"x\u0063"},`)
		f.Add(uint8(place), uint16(5000), `{"$ref":"#/$defs/B"},`, uint16(5000), `"\u0042":{},`)
		f.Add(uint8(place), uint16(5000), `"a":0,`, uint16(5000), `"b":0,`)
	}
	fuzzing := flag.Lookup("test.fuzz").Value.String() != ""
	f.Fuzz(func(t *testing.T, place uint8, times1 uint16, piece1 string, times2 uint16, piece2 string) {
		p := places[int(place)%len(places)]
		pieces := func(piece string, n uint16) string {
			return strings.Repeat(piece, min(int(n), (256<<10)/(1+len(piece))))
		}
		body := []byte(p.before + pieces(piece1, times1) + p.middle + pieces(piece2, times2) + p.after)
		quickest := time.Hour
		for range 3 {
			start := time.Now()
			out, _ := Request(p.api, modelOf(p.api), nil, body, nil)
			quickest = min(quickest, time.Since(start))
			if len(out) > 2*len(body)+1<<20 {
				t.Fatalf("%d bytes became %d", len(body), len(out))
			}
			if !fuzzing {
				return
			}
		}
		if most := 5*time.Millisecond + time.Duration(len(body))*400; quickest > most {
			t.Errorf("%d bytes took %v", len(body), quickest)
		}
	})
}
