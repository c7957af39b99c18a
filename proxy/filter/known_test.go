package filter

import "testing"

// What proxies like this one got wrong before, each by its name.
func TestKnownBugsOfStreams(t *testing.T) {
	header := `{"index":0,"id":"c1","type":"function","function":{"name":"databricks-tool-call","arguments":""}}`
	whole := func(index, name, args string) string {
		return `{"index":` + index + `,"id":"c` + index + `","type":"function","function":{"name":"` + name + `","arguments":"` + args + `"}}`
	}
	piece := func(args string) string { return `{"index":0,"function":{"arguments":"` + args + `"}}` }
	said := delta(`"content":"naïve \u00e9"`)
	runStreams(t, asked(t, "bash", "read"), []streamCase{
		{
			`arguments split over chunks came out as {"cmd":"ls"}"cmd":"ls"}`,
			calling(header) + calling(piece(`{\"name\":\"bash\",`)) + calling(piece(`\"cmd\":\"ls\"}`)) + done,
			calling(`{"index":0,"id":"c1","type":"function","function":{"name":"bash","arguments":"{\"cmd\":\"ls\"}"}}`) + calling(piece("")) + calling(piece("")) + done,
		},
		{
			"a whole call in one chunk came after [DONE]",
			calling(whole("0", wrapperName, `{\"name\":\"bash\"}`)) + done,
			calling(whole("0", "bash", `{}`)) + done,
		},
		{
			"parallel calls mixed",
			calling(whole("0", wrapperName, `{\"name\":\"bash\"`)) + calling(whole("1", wrapperName, `{\"name\":\"read\"}`)) + calling(piece(`,\"cmd\":\"ls\"}`)) + done,
			calling(whole("0", "bash", `{\"cmd\":\"ls\"}`)) + calling(whole("1", "read", `{}`)) + calling(piece("")) + done,
		},
		{
			"name: null on later chunks lost the first",
			calling(header) + calling(`{"index":0,"function":{"name":null,"arguments":"{\"name\":\"bash\"}"}}`) + done,
			calling(`{"index":0,"id":"c1","type":"function","function":{"name":"bash","arguments":"{}"}}`) + calling(`{"index":0,"function":{"name":null,"arguments":""}}`) + done,
		},
		{
			"finish_reason stayed stop in a separate last chunk",
			calling(whole("0", "bash", `{}`)) + said + finish("stop") + done,
			calling(whole("0", "bash", `{}`)) + said + finish("tool_calls") + done,
		},
		{
			"data: without a space ignored",
			calling(whole("0", "bash", `{}`)) + `data:{"choices":[{"delta":{},"finish_reason":"stop"}]}` + "\n\n",
			calling(whole("0", "bash", `{}`)) + `data:{"choices":[{"delta":{},"finish_reason":"tool_calls"}]}` + "\n\n",
		},
		{
			"null for choices, delta or tool_calls cut the stream",
			`data: {"choices":null}` + "\n\n" + `data: {"choices":[{"delta":null}]}` + "\n\n" + delta(`"tool_calls":null`) + calling(whole("0", wrapperName, `{\"name\":\"bash\"}`)),
			`data: {"choices":null}` + "\n\n" + `data: {"choices":[{"delta":null}]}` + "\n\n" + delta(`"tool_calls":null`) + calling(whole("0", "bash", `{}`)),
		},
		{
			"UTF-8 read as Latin-1",
			said + calling(whole("0", wrapperName, `{\"name\":\"bash\",\"cmd\":\"naïve \u00e9\"}`)),
			said + calling(whole("0", "bash", `{\"cmd\":\"naïve é\"}`)),
		},
		{
			"U+2028 and a CRLF split across reads cut an event in two", // runStreams cuts at each byte
			"data: {\"choices\":[{\"delta\":{\"content\":[{\"type\":\"text\",\"text\":\"a\u2028b\"}]}}]}\r\n\r\n" + "data: [DONE]\r\n\r\n",
			"data: {\"choices\":[{\"delta\":{\"content\":\"a\u2028b\"}}]}\r\n\r\n" + "data: [DONE]\r\n\r\n",
		},
	})
}

func TestKnownBugsOfSchemas(t *testing.T) {
	tools := func(schema string) string {
		return `{"model":"gemini","tools":[{"function":{"name":"grep","parameters":` + schema + `}}]}`
	}
	runRequests(t, ChatCompletions, "", []requestCase{
		{
			"a tool whose property is named pattern or $ref lost it, while required still named it",
			tools(`{"type":"object","properties":{"pattern":{"type":"string","pattern":"."},"$ref":{"type":"string"}},"required":["pattern","$ref"]}`),
			tools(`{"type":"object","properties":{"pattern":{"type":"string"},"$ref":{"type":"string"}},"required":["pattern","$ref"]}`),
		},
		{
			"$ref removed without being inlined",
			tools(`{"type":"object","properties":{"a":{"$ref":"#/$defs/A"}},"$defs":{"A":{"type":"string"}}}`),
			tools(`{"type":"object","properties":{"a":{"type":"string"}}}`),
		},
	})
}
