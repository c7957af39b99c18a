package filter

import (
	"strings"
	"testing"
)

func TestRealNames(t *testing.T) {
	first := `{"index":0,"id":"c1","type":"function","function":{"name":"databricks-tool-call","arguments":""}}`
	piece := func(index, args string) string {
		return `{"index":` + index + `,"function":{"arguments":"` + args + `"}}`
	}
	named := func(args string) string {
		return `{"index":0,"id":"c1","type":"function","function":{"name":"bash","arguments":"` + args + `"}}`
	}
	whole := `{"index":0,"id":"c1","type":"function","function":{"name":"databricks-tool-call","arguments":"{\"name\":\"bash\",\"cmd\":\"ls\"}"}}`
	ls := `{\"cmd\":\"ls\"}`
	runStreams(t, asked(t, "bash", "read"), []streamCase{
		{"whole call in one chunk", calling(whole) + finish("tool_calls") + done, calling(named(ls)) + finish("tool_calls") + done},
		{"whole call in one chunk, [DONE] at once", calling(whole) + done, calling(named(ls)) + done},
		{
			"arguments split over chunks",
			calling(first) + calling(piece("0", `{\"name\":\"ba`)) + calling(piece("0", `sh\",\"cmd\":`)) + calling(piece("0", `\"ls\"}`)) + finish("tool_calls") + done,
			calling(named(ls)) + calling(piece("0", "")) + calling(piece("0", "")) + calling(piece("0", "")) + finish("tool_calls") + done,
		},
		{
			"name comes last among the arguments",
			calling(first) + calling(piece("0", `{\"cmd\":\"ls\" , `)) + calling(piece("0", `\"name\":\"bash\"} `)) + done,
			calling(named(ls+` `)) + calling(piece("0", "")) + calling(piece("0", "")) + done,
		},
		{
			"split inside an escape of an escape",
			calling(first) + calling(piece("0", `{\"name\":\"bash\",\"cmd\":\"a\\`)) + calling(piece("0", `\"b\\n\\u00e9\u00e9}{\"}`)) + done,
			calling(named(`{\"cmd\":\"a\\\"b\\n\\u00e9é}{\"}`)) + calling(piece("0", "")) + calling(piece("0", "")) + done,
		},
		{
			"surrogate pair split over chunks",
			calling(first) + calling(piece("0", `{\"name\":\"bash\",\"cmd\":\"\ud83d`)) + calling(piece("0", `\ude00\"}`)) + done,
			calling(named(`{\"cmd\":\"\ud83d\ude00\"}`)) + calling(piece("0", "")) + calling(piece("0", "")) + done,
		},
		{"no other arguments", calling(first) + calling(piece("0", `{\"name\":\"bash\"}`)) + done, calling(named(`{}`)) + calling(piece("0", "")) + done},
		{
			"a piece after the arguments",
			calling(first) + calling(piece("0", `{\"name\":\"bash\",\"cmd\":\"ls\"}`)) + calling(piece("0", `\n`)) + done,
			calling(named(ls)) + calling(piece("0", "")) + calling(piece("0", `\n`)) + done,
		},
		{
			"id, type and name on every chunk",
			calling(first) + calling(`{"index":0,"id":"c1","type":"function","function":{"name":"databricks-tool-call","arguments":"{\"name\":\"bash\",\"cmd\":\"ls\"}"}}`) + calling(`{"index":0,"id":"c1","type":"function","function":{"name":"databricks-tool-call","arguments":""}}`) + done,
			calling(named(ls)) + calling(`{"index":0,"id":"c1","type":"function","function":{"arguments":""}}`) + calling(`{"index":0,"id":"c1","type":"function","function":{"arguments":""}}`) + done,
		},
		{
			"name: null on later chunks",
			calling(first) + calling(`{"index":0,"id":null,"function":{"name":null,"arguments":"{\"name\":\"bash\",\"cmd\":\"ls\"}"}}`) + done,
			calling(named(ls)) + calling(`{"index":0,"id":null,"function":{"name":null,"arguments":""}}`) + done,
		},
		{
			"the name of the call comes late",
			calling(`{"index":0,"function":{"arguments":"{\"name\":"}}`) + calling(`{"index":0,"id":"c1","function":{"name":"databricks-tool-call","arguments":"\"bash\",\"cmd\":\"ls\"}"}}`) + done,
			calling(`{"id":"c1","type":"function","index":0,"function":{"name":"bash","arguments":"{\"cmd\":\"ls\"}"}}`) + calling(`{"index":0,"id":"c1","function":{"arguments":""}}`) + done,
		},
		{
			"the name of an ordinary call comes late",
			calling(`{"index":0,"id":"c1","type":"function","function":{"name":null,"arguments":"{"}}`) + calling(`{"index":0,"function":{"name":"read"}}`) + calling(piece("0", "}")) + finish("tool_calls") + done,
			calling(`{"index":0,"id":"c1","type":"function","function":{"name":"read","arguments":"{"}}`) + calling(`{"index":0,"function":{}}`) + calling(piece("0", "}")) + finish("tool_calls") + done,
		},
		{
			"function comes late",
			calling(`{"index":0,"id":"c1","type":"function"}`) + calling(`{"index":0,"function":{"name":"databricks-tool-call","arguments":"{\"name\":\"bash\",\"cmd\":\"ls\"}"}}`) + done,
			calling(`{"function":{"name":"bash","arguments":"{\"cmd\":\"ls\"}"},"index":0,"id":"c1","type":"function"}`) + calling(`{"index":0,"function":{"arguments":""}}`) + done,
		},
		{"the name never comes", calling(`{"index":0,"id":"c1","type":"function","function":{"arguments":"{}"}}`) + finish("tool_calls") + done, ""},
		{
			"no index",
			calling(`{"id":"c1","type":"function","function":{"name":"databricks-tool-call","arguments":"{\"name\":\"bash\"}"}}`) + calling(`{"id":"c2","type":"function","function":{"name":"databricks-tool-call","arguments":"{\"name\":\"read\"}"}}`) + finish("tool_calls"),
			calling(`{"id":"c1","type":"function","function":{"name":"bash","arguments":"{}"}}`) + calling(`{"id":"c2","type":"function","function":{"name":"read","arguments":"{}"}}`) + finish("tool_calls"),
		},
		{
			"unknown members stay",
			calling(`{"index":0,"id":"c1","extra_content":{"google":{"thought_signature":"s"}},"type":"function","function":{"name":"databricks-tool-call","arguments":"{\"name\":\"bash\"}","x":1}}`),
			calling(`{"index":0,"id":"c1","extra_content":{"google":{"thought_signature":"s"}},"type":"function","function":{"name":"bash","arguments":"{}","x":1}}`),
		},
		{"not one of the tools", calling(first) + calling(piece("0", `{\"name\":\"Bob\",`)) + calling(piece("0", `\"age\":7}`)) + finish("tool_calls") + done, ""},
		{"no name", calling(first) + calling(piece("0", `{\"age\":7}`)) + finish("tool_calls") + done, ""},
		{"name of another kind", calling(first) + calling(piece("0", `{\"name\":7}`)) + done, ""},
		{"name twice", calling(first) + calling(piece("0", `{\"name\":\"bash\",\"name\":\"read\"}`)) + done, ""},
		{"name deeper down", calling(first) + calling(piece("0", `{\"x\":{\"name\":\"bash\"}}`)) + done, ""},
		{"arguments that aren't an object", calling(first) + calling(piece("0", `[\"name\"]`)) + done, ""},
		{"arguments that aren't JSON", calling(first) + calling(piece("0", `{name:bash}`)) + done, ""},
		{"arguments that aren't text", calling(first) + calling(`{"index":0,"function":{"arguments":{"name":"bash"}}}`) + done, ""},
		{"arguments that never end", calling(first) + calling(piece("0", `{\"name\":\"bash\"`)) + finish("length") + done, ""},
		{"the stream is cut", calling(first) + calling(piece("0", `{\"name\":\"bash\"`)) + "data: {\"choices\":[{\"del", ""},
		{"an error comes in between", calling(first) + calling(piece("0", `{\"name\":\"bash\"`)) + `data: {"error":{"message":"x"}}` + "\n\n", ""},
	})
	runStreams(t, asked(t, "bash", wrapperName), []streamCase{{"a tool of that very name", calling(whole) + done, ""}})
	runStreams(t, Call{api: ChatCompletions}, []streamCase{{"no tools", calling(whole) + done, ""}})
	runStreams(t, Call{}, []streamCase{{"no call", calling(whole) + finish("stop"), ""}})
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
	runStreams(t, asked(t, "bash", "read"), []streamCase{
		{
			"one after the other",
			calling(wrap("0")) + calling(piece("0", `{\"name\":\"bash\",\"a\":0}`)) + calling(wrap("1")) + calling(piece("1", `{\"name\":\"read\",\"a\":1}`)) + finish("stop") + done,
			calling(known("0", "bash", `{\"a\":0}`)) + calling(piece("0", "")) + calling(known("1", "read", `{\"a\":1}`)) + calling(piece("1", "")) + finish("tool_calls") + done,
		},
		{
			"interleaved",
			calling(wrap("0")) + calling(wrap("1")) + calling(piece("1", `{\"name\":`)) + calling(piece("0", `{\"name\":\"bash\",`)) + calling(piece("1", `\"read\"}`)) + calling(piece("0", `\"a\":0}`)) + done,
			calling(known("0", "bash", `{\"a\":0}`)) + calling(known("1", "read", `{}`)) + calling(piece("1", "")) + calling(piece("0", "")) + calling(piece("1", "")) + calling(piece("0", "")) + done,
		},
		{
			"both in each chunk",
			calling(wrap("0")+","+wrap("1")) + calling(piece("0", `{\"name\":\"bash\"`)+","+piece("1", `{\"name\":\"read\"}`)) + calling(piece("0", `}`)) + done,
			calling(known("0", "bash", `{}`)+","+known("1", "read", `{}`)) + calling(piece("0", "")+","+piece("1", "")) + calling(piece("0", "")) + done,
		},
		{
			"an ordinary one waits for the one before it",
			calling(wrap("0")) + calling(known("1", "read", `{}`)) + calling(piece("0", `{\"name\":\"bash\"}`)) + done,
			calling(known("0", "bash", `{}`)) + calling(known("1", "read", `{}`)) + calling(piece("0", "")) + done,
		},
		{
			"one known, one not",
			calling(wrap("0")) + calling(wrap("1")) + calling(piece("0", `{\"name\":\"bash\"}`)) + calling(piece("1", `{\"name\":`)) + finish("stop") + done,
			calling(known("0", "bash", `{}`)) + calling(wrap("1")) + calling(piece("0", "")) + calling(piece("1", `{\"name\":`)) + finish("tool_calls") + done,
		},
		{
			"content in between waits",
			calling(wrap("0")) + delta(`"content":"hi"`) + calling(piece("0", `{\"name\":\"bash\"}`)) + delta(`"content":"ho"`) + done,
			calling(known("0", "bash", `{}`)) + delta(`"content":"hi"`) + calling(piece("0", "")) + delta(`"content":"ho"`) + done,
		},
		{
			"comments don't wait",
			calling(wrap("0")) + ": ping\n\n" + calling(piece("0", `{\"name\":\"bash\"}`)) + done,
			": ping\n\n" + calling(known("0", "bash", `{}`)) + calling(piece("0", "")) + done,
		},
		{
			"usage and what isn't understood wait",
			calling(wrap("0")) + `data: {"choices":[],"usage":null}` + "\n\ndata: ping\n\n" + calling(piece("0", `{\"name\":\"bash\"}`)) + done,
			calling(known("0", "bash", `{}`)) + `data: {"choices":[],"usage":null}` + "\n\ndata: ping\n\n" + calling(piece("0", "")) + done,
		},
		{
			"two choices",
			`data: {"choices":[{"index":0,"delta":{"tool_calls":[` + wrap("0") + `]}},{"index":1,"delta":{"tool_calls":[` + wrap("0") + `]}}]}` + "\n\n" +
				`data: {"choices":[{"index":1,"delta":{"tool_calls":[` + piece("0", `{\"name\":\"read\"}`) + `]},"finish_reason":"stop"},{"index":0,"delta":{"tool_calls":[` + piece("0", `{\"name\":\"bash\"}`) + `]}}]}` + "\n\n" + done,
			`data: {"choices":[{"index":0,"delta":{"tool_calls":[` + known("0", "bash", `{}`) + `]}},{"index":1,"delta":{"tool_calls":[` + known("0", "read", `{}`) + `]}}]}` + "\n\n" +
				`data: {"choices":[{"index":1,"delta":{"tool_calls":[` + piece("0", "") + `]},"finish_reason":"tool_calls"},{"index":0,"delta":{"tool_calls":[` + piece("0", "") + `]}}]}` + "\n\n" + done,
		},
		{
			"two calls under one index, the first held back",
			calling(wrap("0")) + calling(`{"index":0,"id":"c9","type":"function","function":{"name":"databricks-tool-call","arguments":"{\"name\":\"bash\"}"}}`) + done,
			calling(wrap("0")) + calling(`{"index":0,"id":"c9","type":"function","function":{"name":"bash","arguments":"{}"}}`) + done,
		},
		{
			"two calls under one index in one chunk",
			calling(`{"index":0,"id":"a","function":{"name":"databricks-tool-call","arguments":"{\"name\":\"bash\"}"}},{"index":0,"id":"b","function":{"name":"databricks-tool-call","arguments":"{\"name\":\"read\"}"}}`) + done,
			calling(`{"index":0,"id":"a","function":{"name":"bash","arguments":"{}"}},{"index":0,"id":"b","function":{"name":"read","arguments":"{}"}}`) + done,
		},
		{
			"CRLF, event and id lines, no space",
			strings.ReplaceAll("event: m\nid: 1\n"+strings.Replace(calling(wrap("0")), "data: ", "data:", 1)+"id: 2\n"+calling(piece("0", `{\"name\":\"bash\"}`)), "\n", "\r\n"),
			strings.ReplaceAll("event: m\nid: 1\n"+strings.Replace(calling(known("0", "bash", `{}`)), "data: ", "data:", 1)+"id: 2\n"+calling(piece("0", "")), "\n", "\r\n"),
		},
		{
			"CR",
			strings.ReplaceAll(calling(wrap("0"))+calling(piece("0", `{\"name\":\"bash\"}`)), "\n", "\r"),
			strings.ReplaceAll(calling(known("0", "bash", `{}`))+calling(piece("0", "")), "\n", "\r"),
		},
	})
}
