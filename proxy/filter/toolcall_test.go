package filter

import (
	"strings"
	"testing"
)

func TestUnwrappedCalls(t *testing.T) {
	first := `{"index":0,"id":"c1","type":"function","function":{"name":"databricks-tool-call","arguments":""}}`
	piece := func(index, args string) string {
		return `{"index":` + index + `,"function":{"arguments":"` + args + `"}}`
	}
	named := func(args string) string {
		return `{"index":0,"id":"c1","type":"function","function":{"name":"bash","arguments":"` + args + `"}}`
	}
	whole := `{"index":0,"id":"c1","type":"function","function":{"name":"databricks-tool-call","arguments":"{\"name\":\"bash\",\"cmd\":\"ls\"}"}}`
	ls := `{\"cmd\":\"ls\"}`
	runStreams(t, callWithTools(t, "bash", "read"), []streamCase{
		{"whole call in one chunk", callChunk(whole) + finishChunk("tool_calls") + doneEvent, callChunk(named(ls)) + finishChunk("tool_calls") + doneEvent},
		{"whole call in one chunk, [DONE] at once", callChunk(whole) + doneEvent, callChunk(named(ls)) + doneEvent},
		{
			"arguments split over chunks",
			callChunk(first) + callChunk(piece("0", `{\"name\":\"ba`)) + callChunk(piece("0", `sh\",\"cmd\":`)) + callChunk(piece("0", `\"ls\"}`)) + finishChunk("tool_calls") + doneEvent,
			callChunk(named(ls)) + callChunk(piece("0", "")) + callChunk(piece("0", "")) + callChunk(piece("0", "")) + finishChunk("tool_calls") + doneEvent,
		},
		{
			"name comes last among the arguments",
			callChunk(first) + callChunk(piece("0", `{\"cmd\":\"ls\" , `)) + callChunk(piece("0", `\"name\":\"bash\"} `)) + doneEvent,
			callChunk(named(ls+` `)) + callChunk(piece("0", "")) + callChunk(piece("0", "")) + doneEvent,
		},
		{
			"split inside an escape of an escape",
			callChunk(first) + callChunk(piece("0", `{\"name\":\"bash\",\"cmd\":\"a\\`)) + callChunk(piece("0", `\"b\\n\\u00e9\u00e9}{\"}`)) + doneEvent,
			callChunk(named(`{\"cmd\":\"a\\\"b\\n\\u00e9é}{\"}`)) + callChunk(piece("0", "")) + callChunk(piece("0", "")) + doneEvent,
		},
		{
			"surrogate pair split over chunks",
			callChunk(first) + callChunk(piece("0", `{\"name\":\"bash\",\"cmd\":\"\ud83d`)) + callChunk(piece("0", `\ude00\"}`)) + doneEvent,
			callChunk(named(`{\"cmd\":\"\ud83d\ude00\"}`)) + callChunk(piece("0", "")) + callChunk(piece("0", "")) + doneEvent,
		},
		{"no other arguments", callChunk(first) + callChunk(piece("0", `{\"name\":\"bash\"}`)) + doneEvent, callChunk(named(`{}`)) + callChunk(piece("0", "")) + doneEvent},
		{
			"a piece after the arguments",
			callChunk(first) + callChunk(piece("0", `{\"name\":\"bash\",\"cmd\":\"ls\"}`)) + callChunk(piece("0", `\n`)) + doneEvent,
			callChunk(named(ls)) + callChunk(piece("0", "")) + callChunk(piece("0", `\n`)) + doneEvent,
		},
		{
			"id, type and name on every chunk",
			callChunk(first) + callChunk(`{"index":0,"id":"c1","type":"function","function":{"name":"databricks-tool-call","arguments":"{\"name\":\"bash\",\"cmd\":\"ls\"}"}}`) + callChunk(`{"index":0,"id":"c1","type":"function","function":{"name":"databricks-tool-call","arguments":""}}`) + doneEvent,
			callChunk(named(ls)) + callChunk(`{"index":0,"id":"c1","type":"function","function":{"arguments":""}}`) + callChunk(`{"index":0,"id":"c1","type":"function","function":{"arguments":""}}`) + doneEvent,
		},
		{
			"name: null on later chunks",
			callChunk(first) + callChunk(`{"index":0,"id":null,"function":{"name":null,"arguments":"{\"name\":\"bash\",\"cmd\":\"ls\"}"}}`) + doneEvent,
			callChunk(named(ls)) + callChunk(`{"index":0,"id":null,"function":{"name":null,"arguments":""}}`) + doneEvent,
		},
		{
			"the name of the call comes late",
			callChunk(`{"index":0,"function":{"arguments":"{\"name\":"}}`) + callChunk(`{"index":0,"id":"c1","function":{"name":"databricks-tool-call","arguments":"\"bash\",\"cmd\":\"ls\"}"}}`) + doneEvent,
			callChunk(`{"id":"c1","type":"function","index":0,"function":{"name":"bash","arguments":"{\"cmd\":\"ls\"}"}}`) + callChunk(`{"index":0,"id":"c1","function":{"arguments":""}}`) + doneEvent,
		},
		{
			"the name of an ordinary call comes late",
			callChunk(`{"index":0,"id":"c1","type":"function","function":{"name":null,"arguments":"{"}}`) + callChunk(`{"index":0,"function":{"name":"read"}}`) + callChunk(piece("0", "}")) + finishChunk("tool_calls") + doneEvent,
			callChunk(`{"index":0,"id":"c1","type":"function","function":{"name":"read","arguments":"{"}}`) + callChunk(`{"index":0,"function":{}}`) + callChunk(piece("0", "}")) + finishChunk("tool_calls") + doneEvent,
		},
		{
			"function comes late",
			callChunk(`{"index":0,"id":"c1","type":"function"}`) + callChunk(`{"index":0,"function":{"name":"databricks-tool-call","arguments":"{\"name\":\"bash\",\"cmd\":\"ls\"}"}}`) + doneEvent,
			callChunk(`{"function":{"name":"bash","arguments":"{\"cmd\":\"ls\"}"},"index":0,"id":"c1","type":"function"}`) + callChunk(`{"index":0,"function":{"arguments":""}}`) + doneEvent,
		},
		{"the name never comes", callChunk(`{"index":0,"id":"c1","type":"function","function":{"arguments":"{}"}}`) + finishChunk("tool_calls") + doneEvent, ""},
		{
			"no index",
			callChunk(`{"id":"c1","type":"function","function":{"name":"databricks-tool-call","arguments":"{\"name\":\"bash\"}"}}`) + callChunk(`{"id":"c2","type":"function","function":{"name":"databricks-tool-call","arguments":"{\"name\":\"read\"}"}}`) + finishChunk("tool_calls"),
			callChunk(`{"id":"c1","type":"function","function":{"name":"bash","arguments":"{}"}}`) + callChunk(`{"id":"c2","type":"function","function":{"name":"read","arguments":"{}"}}`) + finishChunk("tool_calls"),
		},
		{
			"unknown members stay",
			callChunk(`{"index":0,"id":"c1","extra_content":{"google":{"thought_signature":"s"}},"type":"function","function":{"name":"databricks-tool-call","arguments":"{\"name\":\"bash\"}","x":1}}`),
			callChunk(`{"index":0,"id":"c1","extra_content":{"google":{"thought_signature":"s"}},"type":"function","function":{"name":"bash","arguments":"{}","x":1}}`),
		},
		{
			"after null for choices, delta and tool_calls",
			`data: {"choices":null}` + "\n\n" + `data: {"choices":[{"delta":null}]}` + "\n\n" + deltaChunk(`"tool_calls":null`) + callChunk(whole),
			`data: {"choices":null}` + "\n\n" + `data: {"choices":[{"delta":null}]}` + "\n\n" + deltaChunk(`"tool_calls":null`) + callChunk(named(ls)),
		},
		{"not one of the tools", callChunk(first) + callChunk(piece("0", `{\"name\":\"Bob\",`)) + callChunk(piece("0", `\"age\":7}`)) + finishChunk("tool_calls") + doneEvent, ""},
		{"no name", callChunk(first) + callChunk(piece("0", `{\"age\":7}`)) + finishChunk("tool_calls") + doneEvent, ""},
		{"name of another kind", callChunk(first) + callChunk(piece("0", `{\"name\":7}`)) + doneEvent, ""},
		{"name twice", callChunk(first) + callChunk(piece("0", `{\"name\":\"bash\",\"name\":\"read\"}`)) + doneEvent, ""},
		{"name deeper down", callChunk(first) + callChunk(piece("0", `{\"x\":{\"name\":\"bash\"}}`)) + doneEvent, ""},
		{"arguments that aren't an object", callChunk(first) + callChunk(piece("0", `[\"name\"]`)) + doneEvent, ""},
		{"arguments that aren't JSON", callChunk(first) + callChunk(piece("0", `{name:bash}`)) + doneEvent, ""},
		{"arguments that aren't text", callChunk(first) + callChunk(`{"index":0,"function":{"arguments":{"name":"bash"}}}`) + doneEvent, ""},
		{"arguments that never end", callChunk(first) + callChunk(piece("0", `{\"name\":\"bash\"`)) + finishChunk("length") + doneEvent, ""},
		{"the stream is cut", callChunk(first) + callChunk(piece("0", `{\"name\":\"bash\"`)) + "data: {\"choices\":[{\"del", ""},
		{"an error comes in between", callChunk(first) + callChunk(piece("0", `{\"name\":\"bash\"`)) + `data: {"error":{"message":"x"}}` + "\n\n", ""},
	})
	runStreams(t, callWithTools(t, "bash", wrapperName), []streamCase{{"a tool of that very name", callChunk(whole) + doneEvent, ""}})
	runStreams(t, Call{api: ChatCompletions}, []streamCase{{"no tools", callChunk(whole) + doneEvent, ""}})
	runStreams(t, Call{}, []streamCase{{"no call", callChunk(whole) + finishChunk("stop"), ""}})
}

func TestParallelCalls(t *testing.T) {
	wrap := func(index string) string {
		return `{"index":` + index + `,"id":"c` + index + `","type":"function","function":{"name":"databricks-tool-call","arguments":""}}`
	}
	known := func(index, name, args string) string {
		return `{"index":` + index + `,"id":"c` + index + `","type":"function","function":{"name":"` + name + `","arguments":"` + args + `"}}`
	}
	piece := func(index, args string) string {
		return `{"index":` + index + `,"function":{"arguments":"` + args + `"}}`
	}
	runStreams(t, callWithTools(t, "bash", "read"), []streamCase{
		{
			"one after the other",
			callChunk(wrap("0")) + callChunk(piece("0", `{\"name\":\"bash\",\"a\":0}`)) + callChunk(wrap("1")) + callChunk(piece("1", `{\"name\":\"read\",\"a\":1}`)) + finishChunk("stop") + doneEvent,
			callChunk(known("0", "bash", `{\"a\":0}`)) + callChunk(piece("0", "")) + callChunk(known("1", "read", `{\"a\":1}`)) + callChunk(piece("1", "")) + finishChunk("tool_calls") + doneEvent,
		},
		{
			"interleaved",
			callChunk(wrap("0")) + callChunk(wrap("1")) + callChunk(piece("1", `{\"name\":`)) + callChunk(piece("0", `{\"name\":\"bash\",`)) + callChunk(piece("1", `\"read\"}`)) + callChunk(piece("0", `\"a\":0}`)) + doneEvent,
			callChunk(known("0", "bash", `{\"a\":0}`)) + callChunk(known("1", "read", `{}`)) + callChunk(piece("1", "")) + callChunk(piece("0", "")) + callChunk(piece("1", "")) + callChunk(piece("0", "")) + doneEvent,
		},
		{
			"both in each chunk",
			callChunk(wrap("0")+","+wrap("1")) + callChunk(piece("0", `{\"name\":\"bash\"`)+","+piece("1", `{\"name\":\"read\"}`)) + callChunk(piece("0", `}`)) + doneEvent,
			callChunk(known("0", "bash", `{}`)+","+known("1", "read", `{}`)) + callChunk(piece("0", "")+","+piece("1", "")) + callChunk(piece("0", "")) + doneEvent,
		},
		{
			"an ordinary one waits for the one before it",
			callChunk(wrap("0")) + callChunk(known("1", "read", `{}`)) + callChunk(piece("0", `{\"name\":\"bash\"}`)) + doneEvent,
			callChunk(known("0", "bash", `{}`)) + callChunk(known("1", "read", `{}`)) + callChunk(piece("0", "")) + doneEvent,
		},
		{
			"one known, one not",
			callChunk(wrap("0")) + callChunk(wrap("1")) + callChunk(piece("0", `{\"name\":\"bash\"}`)) + callChunk(piece("1", `{\"name\":`)) + finishChunk("stop") + doneEvent,
			callChunk(known("0", "bash", `{}`)) + callChunk(wrap("1")) + callChunk(piece("0", "")) + callChunk(piece("1", `{\"name\":`)) + finishChunk("tool_calls") + doneEvent,
		},
		{
			"content in between waits",
			callChunk(wrap("0")) + deltaChunk(`"content":"hi"`) + callChunk(piece("0", `{\"name\":\"bash\"}`)) + deltaChunk(`"content":"ho"`) + doneEvent,
			callChunk(known("0", "bash", `{}`)) + deltaChunk(`"content":"hi"`) + callChunk(piece("0", "")) + deltaChunk(`"content":"ho"`) + doneEvent,
		},
		{
			"comments don't wait",
			callChunk(wrap("0")) + ": ping\n\n" + callChunk(piece("0", `{\"name\":\"bash\"}`)) + doneEvent,
			": ping\n\n" + callChunk(known("0", "bash", `{}`)) + callChunk(piece("0", "")) + doneEvent,
		},
		{
			"usage and what isn't understood wait",
			callChunk(wrap("0")) + `data: {"choices":[],"usage":null}` + "\n\ndata: ping\n\n" + callChunk(piece("0", `{\"name\":\"bash\"}`)) + doneEvent,
			callChunk(known("0", "bash", `{}`)) + `data: {"choices":[],"usage":null}` + "\n\ndata: ping\n\n" + callChunk(piece("0", "")) + doneEvent,
		},
		{
			"two choices",
			`data: {"choices":[{"index":0,"delta":{"tool_calls":[` + wrap("0") + `]}},{"index":1,"delta":{"tool_calls":[` + wrap("0") + `]}}]}` + "\n\n" +
				`data: {"choices":[{"index":1,"delta":{"tool_calls":[` + piece("0", `{\"name\":\"read\"}`) + `]},"finish_reason":"stop"},{"index":0,"delta":{"tool_calls":[` + piece("0", `{\"name\":\"bash\"}`) + `]}}]}` + "\n\n" + doneEvent,
			`data: {"choices":[{"index":0,"delta":{"tool_calls":[` + known("0", "bash", `{}`) + `]}},{"index":1,"delta":{"tool_calls":[` + known("0", "read", `{}`) + `]}}]}` + "\n\n" +
				`data: {"choices":[{"index":1,"delta":{"tool_calls":[` + piece("0", "") + `]},"finish_reason":"tool_calls"},{"index":0,"delta":{"tool_calls":[` + piece("0", "") + `]}}]}` + "\n\n" + doneEvent,
		},
		{
			"two calls under one index, the first held back",
			callChunk(wrap("0")) + callChunk(`{"index":0,"id":"c9","type":"function","function":{"name":"databricks-tool-call","arguments":"{\"name\":\"bash\"}"}}`) + doneEvent,
			callChunk(wrap("0")) + callChunk(`{"index":0,"id":"c9","type":"function","function":{"name":"bash","arguments":"{}"}}`) + doneEvent,
		},
		{
			"two calls under one index in one chunk",
			callChunk(`{"index":0,"id":"a","function":{"name":"databricks-tool-call","arguments":"{\"name\":\"bash\"}"}},{"index":0,"id":"b","function":{"name":"databricks-tool-call","arguments":"{\"name\":\"read\"}"}}`) + doneEvent,
			callChunk(`{"type":"function","index":0,"id":"a","function":{"name":"bash","arguments":"{}"}},{"type":"function","index":0,"id":"b","function":{"name":"read","arguments":"{}"}}`) + doneEvent,
		},
		{
			"CRLF, event and id lines, no space",
			strings.ReplaceAll("event: m\nid: 1\n"+strings.Replace(callChunk(wrap("0")), "data: ", "data:", 1)+"id: 2\n"+callChunk(piece("0", `{\"name\":\"bash\"}`)), "\n", "\r\n"),
			strings.ReplaceAll("event: m\nid: 1\n"+strings.Replace(callChunk(known("0", "bash", `{}`)), "data: ", "data:", 1)+"id: 2\n"+callChunk(piece("0", "")), "\n", "\r\n"),
		},
	})
}
