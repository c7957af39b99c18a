package filter

import (
	"bytes"
	"encoding/json"
	"slices"
	"testing"
)

// requestCase is a request's body and what the filter makes of it. An empty want
// means that it passes unchanged.
type requestCase struct {
	name     string
	in, want string
}

// runRequests runs the cases, and filters each result a second time.
func runRequests(t *testing.T, api API, model string, cases []requestCase) {
	t.Helper()
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if c.want == "" {
				c.want = c.in
			}
			body := []byte(c.in)
			out, call := Request(api, model, nil, body, nil)
			if string(out) != c.want || string(body) != c.in {
				t.Fatalf("\n got %s\nwant %s", out, c.want)
			}
			if len(body) > 0 && (&out[0] == &body[0]) != (c.in == c.want) {
				t.Error("out must be the body itself if, and only if, nothing changes")
			}
			if json.Valid([]byte(c.in)) && !json.Valid(out) {
				t.Error("it came in valid")
			}
			if changed := call.Outdates("Etag"); changed != (c.in != c.want) || call.Outdates("Content-Type") || call.Outdates("Content-Encoding") {
				t.Errorf("fields don't hold any more: %v", changed)
			}
			if call.api != api {
				t.Errorf("the call is for %v", call.api)
			}
			again, _ := Request(api, model, nil, out, nil)
			if string(again) != c.want {
				t.Fatalf("filtered twice it is %s", again)
			}
		})
	}
}

// TestSpareBuffer: a new body uses the spare buffer, and nobody asks for a buffer if
// there is no new body.
func TestSpareBuffer(t *testing.T) {
	none := func(n int) []byte {
		t.Errorf("%d bytes were asked for", n)
		return nil
	}
	if out, _ := Request(ChatCompletions, "", nil, []byte(chat(hi)), none); string(out) != chat(hi) {
		t.Errorf("it became %s", out)
	}
	dirty, want := chat(`{"role":"user","content":"   "},`+call1+`,`+hi), chat(`{"role":"user","content":"."},`+call1+`,{"role":"tool","tool_call_id":"c1","content":"(interrupted)"},`+hi)
	buffer := bytes.Repeat([]byte("x"), 2*len(want))
	for name, spare := range map[string]func(n int) []byte{
		"nothing to ask": nil,
		"no buffer":      func(int) []byte { return nil },
		"a buffer": func(n int) []byte {
			if n != len(want) {
				t.Errorf("%d bytes were asked for, for %d", n, len(want))
			}
			return buffer[:0]
		},
	} {
		out, _ := Request(ChatCompletions, "", nil, []byte(dirty), spare)
		if string(out) != want || (&out[0] == &buffer[0]) != (name == "a buffer") {
			t.Errorf("%s: it became %s", name, out)
		}
	}
}

// TestNamesOfRequestBefore: the model and tools of a request don't get into the next.
func TestNamesOfRequestBefore(t *testing.T) {
	for _, tools := range [][]string{{"bash"}, {}, {"bash", "read"}, {"bash", wrapperName}, {"read"}} {
		wrapped := len(tools) > 1 && tools[1] == wrapperName
		c := callWithTools(t, tools...)
		for _, name := range []string{"bash", "read"} {
			if got, want := c.tools.has([]byte(name)), !wrapped && slices.Contains(tools, name); got != want {
				t.Errorf("%s among %q: %v", name, tools, got)
			}
		}
	}
	gemini, other := `{"model":"gemini","stream_options":{}}`, `{"stream_options":{}}`
	runRequests(t, ChatCompletions, "", []requestCase{{"a model", gemini, `{"model":"gemini"}`}, {"no model", other, ""}, {"again", gemini, `{"model":"gemini"}`}})
}

// chat makes a request with these messages.
func chat(messages string) string {
	return `{"model":"databricks-claude-sonnet-4-5", "messages":[` + messages + `],"stream":true}`
}

const (
	hi                 = `{"role":"user","content":"hi"}`
	call1              = `{"role":"assistant","content":null,"tool_calls":[{"id":"c1","type":"function","function":{"name":"ls","arguments":"{}"}}]}`
	call2              = `{"role":"assistant","tool_calls":[{"id":"c1","type":"function","function":{"name":"ls","arguments":"{}"}},{"id":"c2","type":"function","function":{"name":"ls","arguments":"{}"}}]}`
	answer1            = `{"role":"tool","tool_call_id":"c1","content":"main.go"}`
	answer2            = `{"role":"tool","tool_call_id":"c2","content":"main.go"}`
	toolUse1           = `{"role":"assistant","content":[{"type":"tool_use","id":"t1","name":"ls","input":{}}]}`
	toolUse2           = `{"role":"assistant","content":[{"type":"tool_use","id":"t1","name":"ls","input":{}},{"type":"tool_use","id":"t2","name":"ls","input":{}}]}`
	toolResult1        = `{"type":"tool_result","tool_use_id":"t1","content":"main.go"}`
	interruptedResult1 = `{"type":"tool_result","tool_use_id":"t1","content":"(interrupted)"}`
	interruptedResult2 = `{"type":"tool_result","tool_use_id":"t2","content":"(interrupted)"}`
	textPart           = `{"type":"text","text":"go on"}`
	emptyPart          = `{"type":"text","text":""}`
)

func userBlocks(blocks string) string { return `{"role":"user","content":[` + blocks + `]}` }

func TestBlankInChat(t *testing.T) {
	said := `{"role":"assistant","content":"yes"}`
	cases := []requestCase{
		{"clean", chat(hi + `,` + said + ` , ` + hi), ""},
		{"empty block", chat(`{"role":"user","content":[` + emptyPart + `,` + textPart + `]}`), chat(`{"role":"user","content":[` + textPart + `]}`)},
		{"block at the end", chat(userBlocks(textPart + ` , ` + emptyPart)), chat(userBlocks(textPart))},
		{"block in the middle", chat(userBlocks(textPart + ` , ` + emptyPart + ` , ` + textPart)), chat(userBlocks(textPart + ` , ` + textPart))},
		{"all kinds of blank", chat(userBlocks(emptyPart + `,{"type":"text","text":null},{"type":"text"},{"type":"text","text":" \n\t\u00a0\u2028"},` + textPart)), chat(userBlocks(textPart))},
		{"cache_control goes with its block", chat(userBlocks(textPart + `,{"type":"text","text":"","cache_control":{"type":"ephemeral"}}`)), chat(userBlocks(textPart))},
		{"escaped key", chat(`{"role":"user","\u0063ontent":[{"typ\u0065":"t\u0065xt","text":""},` + textPart + `]}`), chat(`{"role":"user","\u0063ontent":[` + textPart + `]}`)},
		{"user with nothing left", chat(userBlocks(emptyPart) + `,` + said + `,` + hi), chat(`{"role":"user","content":"."},` + said + `,` + hi)},
		{"user with an empty list", chat(userBlocks("") + `,` + said + `,` + hi), chat(`{"role":"user","content":"."},` + said + `,` + hi)},
		{"blank user", chat(`{"role":"user","content":" ","name":"ann"},` + said + `,` + hi), chat(`{"role":"user","content":".","name":"ann"},` + said + `,` + hi)},
		{"null user", chat(`{"role":"user","content": null }`), chat(`{"role":"user","content": "." }`)},
		{"user without content", chat(`{"role":"user"}`), chat(`{"content":".","role":"user"}`)},
		{"system", chat(`{"role":"system","content":""},` + hi), chat(hi)},
		{"developer", chat(hi + `,{"role":"developer","content":[` + emptyPart + `]}`), chat(hi)},
		{"system in the middle", chat(hi + `, {"role":"system","content":null} ,` + said + `,` + hi), chat(hi + `, ` + said + `,` + hi)},
		{"assistant in the middle", chat(hi + `,{"role":"assistant","content":""},` + hi), chat(hi + `,{"role":"assistant","content":"."},` + hi)},
		{"assistant at the end", chat(hi + ` , {"role":"assistant","content":""}`), chat(hi)},
		{"assistants at the end", chat(hi + `,{"role":"assistant","content":""},{"role":"system","content":""},{"role":"assistant","content":[` + emptyPart + `]}`), chat(hi)},
		{"assistant before what goes", chat(hi + `,{"role":"assistant","content":""},` + answer1), chat(hi)},
		{"assistant prefill", chat(hi + `,` + said), ""},
		{"assistant with calls", chat(hi + `,{"role":"assistant","content":"","tool_calls":[{"id":"c1"}]},` + answer1), chat(hi + `,{"role":"assistant","content":null,"tool_calls":[{"id":"c1"}]},` + answer1)},
		{"assistant with calls and a list", chat(hi + `,{"role":"assistant","content":[` + emptyPart + `],"tool_calls":[{"id":"c1"}]},` + answer1), chat(hi + `,{"role":"assistant","content":null,"tool_calls":[{"id":"c1"}]},` + answer1)},
		{"assistant with calls, null or nothing", chat(hi + `,` + call1 + `,` + answer1 + `,` + call2 + `,` + answer1 + `,` + answer2), ""},
		{"assistant with no calls in the list", chat(hi + `,{"role":"assistant","content":"","tool_calls":[]},` + hi), chat(hi + `,{"role":"assistant","content":".","tool_calls":[]},` + hi)},
		{"refusal", chat(hi + `,{"role":"assistant","content":null,"refusal":"I can't."},` + hi), ""},
		{"refusal at the end", chat(hi + `,{"role":"assistant","content":"","refusal":"I can't."}`), ""},
		{"tool", chat(hi + `,` + call1 + `,{"role":"tool","tool_call_id":"c1","content":"\n"}`), chat(hi + `,` + call1 + `,{"role":"tool","tool_call_id":"c1","content":"(no output)"}`)},
		{"tool with a list", chat(hi + `,` + call1 + `,{"role":"tool","tool_call_id":"c1","content":[` + emptyPart + `]}`), chat(hi + `,` + call1 + `,{"role":"tool","tool_call_id":"c1","content":"(no output)"}`)},
		{"tool without content", chat(hi + `,` + call1 + `,{"role":"tool","tool_call_id":"c1"}`), chat(hi + `,` + call1 + `,{"content":"(no output)","role":"tool","tool_call_id":"c1"}`)},
		{"nothing would be left", chat(`{"role":"system","content":""}`), ""},
		{"no messages", chat(""), ""},
		{"image", chat(userBlocks(`{"type":"image_url","image_url":{"url":"data:"}},` + emptyPart)), chat(userBlocks(`{"type":"image_url","image_url":{"url":"data:"}}`))},
	}
	runRequests(t, ChatCompletions, "", cases)
}

func TestNotUnderstood(t *testing.T) {
	cases := []requestCase{
		{"empty", ``, ""},
		{"no JSON", `{"messages":[{"role":"user","content":""}]`, ""},
		{"more than JSON", `{"messages":[{"role":"user","content":""}]}{}`, ""},
		{"control character", "{\"x\":\"\n\",\"messages\":[{\"role\":\"user\",\"content\":\"\"}]}", ""},
		{"a list", `[{"role":"user","content":""}]`, ""},
		{"a string", `"messages"`, ""},
		{"messages twice", `{"messages":[{"role":"user","content":""}],"messages":[]}`, ""},
		{"messages of another kind", `{"messages":{"role":"user","content":""}}`, ""},
		{"message of another kind", chat(`"", null, 1, [], {}`), ""},
		{"role of another kind", chat(`{"role":null,"content":""},{"role":1,"content":""},{"content":""},{"role":"model","content":""}`), ""},
		{"role twice", chat(`{"role":"system","content":"","role":"user"}`), ""},
		{"content twice", chat(`{"role":"user","content":"","content":"hi"}`), ""},
		{"content of another kind", chat(`{"role":"user","content":0},{"role":"user","content":{}},{"role":"user","content":[""]}`), ""},
		{"text of another kind", chat(userBlocks(`{"type":"text","text":0},{"type":"text","text":[]}`)), ""},
		{"text twice", chat(userBlocks(`{"type":"text","text":"","text":"hi"}`)), ""},
		{"type twice", chat(userBlocks(`{"type":"text","text":"","type":"image"}`)), ""},
		{"type of another kind", chat(userBlocks(`{"type":0,"text":""},{"text":""}`)), ""},
		{"tool_calls of another kind", chat(hi + `,{"role":"assistant","content":"","tool_calls":{}},` + hi), ""},
		{"one of many", chat(`{"role":"model","content":""},{"role":"user","content":""}`), chat(`{"role":"model","content":""},{"role":"user","content":"."}`)},
		{"white space all around", " { \"messages\" : [ { \"role\" : \"user\" , \"content\" : \"\" } ] } \n", " { \"messages\" : [ { \"role\" : \"user\" , \"content\" : \".\" } ] } \n"},
		{"invalid UTF-8", chat(`{"role":"user","content":"","name":"` + "\xff\xfe" + `"}`), chat(`{"role":"user","content":".","name":"` + "\xff\xfe" + `"}`)},
		{"numbers as they came", `{"seed":123456789012345678901234567890.10e+05,"messages":[{"role":"user","content":""}]}`, `{"seed":123456789012345678901234567890.10e+05,"messages":[{"role":"user","content":"."}]}`},
	}
	runRequests(t, ChatCompletions, "", cases)
	runRequests(t, AnthropicMessages, "", cases)
	runRequests(t, API(0), "", []requestCase{{"no API", chat(`{"role":"user","content":""}`), ""}})
	runRequests(t, GeminiGenerate, "gemini-3", []requestCase{{"Gemini has no messages", chat(`{"role":"user","content":""}`), ""}})
}

func TestOrphansInChat(t *testing.T) {
	tool := func(id string) string { return `{"role":"tool","tool_call_id":"` + id + `","content":"(interrupted)"}` }
	cases := []requestCase{
		{"answered", chat(hi + `,` + call1 + `,` + answer1 + `,` + hi), ""},
		{"both answered, the other way round", chat(hi + `,` + call2 + `,` + answer2 + `,` + answer1 + `,` + hi), ""},
		{"answered after the user spoke", chat(hi + `,` + call1 + `,` + hi + `,` + answer1), ""},
		{"orphan at the start", chat(answer1 + `,` + hi), chat(hi)},
		{"orphan at the end", chat(hi + `,` + call1 + `,` + answer1 + `,` + answer2), chat(hi + `,` + call1 + `,` + answer1)},
		{"orphan with a list", chat(hi + `,{"role":"tool","tool_call_id":"c1","content":[` + textPart + `]},` + hi), chat(hi + `,` + hi)},
		{"asked two messages before", chat(call1 + `,` + answer1 + `,{"role":"assistant","content":"yes"},` + answer1), chat(call1 + `,` + answer1 + `,{"role":"assistant","content":"yes"}`)},
		{"same id, written another way", chat(hi + `,` + call1 + `,{"role":"tool","tool_call_id":"\u00631","content":"main.go"}`), ""},
		{"interrupted", chat(hi + `,` + call1 + `,` + hi), chat(hi + `,` + call1 + `,` + tool("c1") + `,` + hi)},
		{"interrupted before the assistant goes on", chat(hi + `,` + call1 + ` , {"role":"assistant","content":"yes"}`), chat(hi + `,` + call1 + `,` + tool("c1") + ` , {"role":"assistant","content":"yes"}`)},
		{"one of two interrupted", chat(hi + `,` + call2 + `,` + answer1 + `,` + hi), chat(hi + `,` + call2 + `,` + tool("c2") + `,` + answer1 + `,` + hi)},
		{"both interrupted", chat(hi + `,` + call2 + `,` + hi), chat(hi + `,` + call2 + `,` + tool("c1") + `,` + tool("c2") + `,` + hi)},
		{"call at the end", chat(hi + `,` + call1), ""},
		{"call at the end, once the orphan is gone", chat(hi + `,` + call1 + `,` + answer2), chat(hi + `,` + call1)},
		{"call at the end, once the blank assistant is gone", chat(hi + `,` + call1 + `,{"role":"assistant","content":""}`), chat(hi + `,` + call1)},
		{"answer without an id", chat(hi + `,` + call1 + `,{"role":"tool","content":"main.go"},` + hi), ""},
		{"call without an id", chat(hi + `,{"role":"assistant","tool_calls":[{"id":null},{"id":"c2"}]},` + answer1 + `,` + hi), ""},
		{"a message between that isn't understood", chat(hi + `,` + call1 + `,{"role":"function","content":"x"},` + hi + `,` + answer2), ""},
		{"id with a quote", chat(`{"role":"assistant","tool_calls":[{"id":"c\"1"}]},` + hi), chat(`{"role":"assistant","tool_calls":[{"id":"c\"1"}]},` + tool(`c\"1`) + `,` + hi)},
	}
	runRequests(t, ChatCompletions, "", cases)
}

func TestAnthropicMessages(t *testing.T) {
	said := `{"role":"assistant","content":[{"type":"text","text":"yes"}]}`
	claude := func(messages string) string {
		return `{"model":"claude-sonnet-4-5","max_tokens":10,"system":[{"type":"text","text":"be brief","cache_control":{"type":"ephemeral"}}],"messages":[` + messages + `]}`
	}
	cases := []requestCase{
		{"clean", claude(hi + `,` + toolUse1 + `,` + userBlocks(toolResult1)), ""},
		{"blank next to a call", claude(hi + `,{"role":"assistant","content":[` + emptyPart + `,{"type":"tool_use","id":"t1","name":"ls","input":{}}]},` + userBlocks(toolResult1)), claude(hi + `,` + toolUse1 + `,` + userBlocks(toolResult1))},
		{"thinking stays", claude(hi + `,{"role":"assistant","content":[{"type":"thinking","thinking":"","signature":"x"},` + emptyPart + `]},` + hi), claude(hi + `,{"role":"assistant","content":[{"type":"thinking","thinking":"","signature":"x"}]},` + hi)},
		{"blank inside a result", claude(hi + `,` + toolUse1 + `,` + userBlocks(`{"type":"tool_result","tool_use_id":"t1","content":[`+emptyPart+`,`+textPart+`],"is_error":true}`)), claude(hi + `,` + toolUse1 + `,` + userBlocks(`{"type":"tool_result","tool_use_id":"t1","content":[`+textPart+`],"is_error":true}`))},
		{"result with nothing left", claude(hi + `,` + toolUse1 + `,` + userBlocks(`{"type":"tool_result","tool_use_id":"t1","content":[`+emptyPart+`]},`+textPart)), claude(hi + `,` + toolUse1 + `,` + userBlocks(`{"type":"tool_result","tool_use_id":"t1","content":"(no output)"},`+textPart))},
		{"blank result", claude(hi + `,` + toolUse1 + `,` + userBlocks(`{"type":"tool_result","tool_use_id":"t1","content":" "}`)), claude(hi + `,` + toolUse1 + `,` + userBlocks(`{"type":"tool_result","tool_use_id":"t1","content":"(no output)"}`))},
		{"null result", claude(hi + `,` + toolUse1 + `,` + userBlocks(`{"type":"tool_result","tool_use_id":"t1","content":null}`)), claude(hi + `,` + toolUse1 + `,` + userBlocks(`{"type":"tool_result","tool_use_id":"t1","content":"(no output)"}`))},
		{"result without content, as documented", claude(hi + `,` + toolUse1 + `,` + userBlocks(`{"type":"tool_result","tool_use_id":"t1"}`)), ""},
		{"orphan beside text", claude(userBlocks(toolResult1 + `,` + textPart)), claude(userBlocks(textPart))},
		{"orphan alone", claude(hi + `,` + said + `,` + userBlocks(toolResult1)), claude(hi + `,` + said + `,{"role":"user","content":"."}`)},
		{"orphan of the turn before", claude(hi + `,` + toolUse1 + `,` + userBlocks(toolResult1) + `,` + said + `,` + userBlocks(toolResult1+`,`+textPart)), claude(hi + `,` + toolUse1 + `,` + userBlocks(toolResult1) + `,` + said + `,` + userBlocks(textPart))},
		{"interrupted, then a string", claude(hi + `,` + toolUse1 + `,` + hi), claude(hi + `,` + toolUse1 + `,` + userBlocks(interruptedResult1+`,{"type":"text","text":"hi"}`))},
		{"interrupted, then blocks", claude(hi + `,` + toolUse1 + `,` + userBlocks(` `+textPart)), claude(hi + `,` + toolUse1 + `,` + userBlocks(interruptedResult1+`, `+textPart))},
		{"interrupted, then nothing", claude(hi + `,` + toolUse1 + `,{"role":"user","content":""}`), claude(hi + `,` + toolUse1 + `,` + userBlocks(interruptedResult1))},
		{"interrupted, then blank blocks", claude(hi + `,` + toolUse1 + `,` + userBlocks(emptyPart)), claude(hi + `,` + toolUse1 + `,` + userBlocks(interruptedResult1))},
		{"interrupted, then a blank block and text", claude(hi + `,` + toolUse1 + `,` + userBlocks(emptyPart+`,`+textPart)), claude(hi + `,` + toolUse1 + `,` + userBlocks(interruptedResult1+`,`+textPart))},
		{"interrupted, then the assistant", claude(hi + `,` + toolUse1 + `,` + said), claude(hi + `,` + toolUse1 + `,` + userBlocks(interruptedResult1) + `,` + said)},
		{"one of two interrupted", claude(hi + `,` + toolUse2 + `,` + userBlocks(toolResult1+`,`+textPart)), claude(hi + `,` + toolUse2 + `,` + userBlocks(interruptedResult2+`,`+toolResult1+`,`+textPart))},
		{"two interrupted, another's answer there", claude(hi + `,` + toolUse2 + `,` + userBlocks(`{"type":"tool_result","tool_use_id":"t0","content":"x"}`)), claude(hi + `,` + toolUse2 + `,` + userBlocks(interruptedResult1+`,`+interruptedResult2))},
		{"call at the end", claude(hi + `,` + toolUse1), ""},
		{"unknown keys and cache_control stay", claude(hi + `,` + toolUse1 + `,{"role":"user","x":1,"content":[{"type":"tool_result","tool_use_id":"t1","content":"x","cache_control":{"type":"ephemeral"},"y":2},` + emptyPart + `]}`), claude(hi + `,` + toolUse1 + `,{"role":"user","x":1,"content":[{"type":"tool_result","tool_use_id":"t1","content":"x","cache_control":{"type":"ephemeral"},"y":2}]}`)},
		{"result without an id", claude(hi + `,` + toolUse1 + `,` + userBlocks(`{"type":"tool_result","content":"x"}`)), ""},
		{"result whose id stands twice", claude(hi + `,` + toolUse1 + `,` + userBlocks(`{"type":"tool_result","tool_use_id":"t0","tool_use_id":"t1","content":"x"}`)), ""},
		{"call without an id", claude(hi + `,{"role":"assistant","content":[{"type":"tool_use","name":"ls"}]},` + userBlocks(toolResult1)), ""},
		{"server tools are none of ours", claude(hi + `,{"role":"assistant","content":[{"type":"server_tool_use","id":"srvtoolu_1","name":"web_search","input":{}},{"type":"web_search_tool_result","tool_use_id":"srvtoolu_1","content":[]}]},` + hi), ""},
		{"system prompt, blank", `{"system":" ","messages":[` + hi + `]}`, `{"messages":[` + hi + `]}`},
		{"system prompt, blank block", `{"messages":[` + hi + `],"system":[` + emptyPart + `,` + textPart + `]}`, `{"messages":[` + hi + `],"system":[` + textPart + `]}`},
		{"system prompt, blank blocks only", `{"messages":[` + hi + `] , "system":[` + emptyPart + `]}`, `{"messages":[` + hi + `]}`},
	}
	runRequests(t, AnthropicMessages, "", cases)
}

func TestQuirks(t *testing.T) {
	of := func(model, members string) string { return `{"model":"` + model + `"` + members + `}` }
	all := `,"stream_options":{"include_usage":true},"reasoningSummary":"auto","reasoning_effort":"low","temperature":0.2,"top_p":1,"top_k":5,"n":1`
	noGemini := `,"reasoningSummary":"auto","reasoning_effort":"low","temperature":0.2,"top_p":1,"top_k":5,"n":1`
	noGPT := `,"stream_options":{"include_usage":true},"reasoning_effort":"low","temperature":0.2,"top_p":1,"top_k":5,"n":1`
	noOpus := `,"stream_options":{"include_usage":true},"reasoningSummary":"auto","reasoning_effort":"low","n":1`
	var cases []requestCase
	for model, want := range map[string]string{
		"databricks-gemini-2-5-pro":     noGemini,
		"system.ai.Gemini-3-1-flash":    noGemini,
		"databricks-gpt-5-2":            noGPT,
		"databricks-gpt-oss-120b":       noGPT,
		"databricks-claude-opus-4-7":    noOpus,
		"databricks-claude-opus-4-8":    noOpus,
		"databricks-claude-opus-4-10":   noOpus,
		"claude-opus-4.7":               noOpus,
		"databricks-claude-opus-5":      noOpus,
		"databricks-claude-opus-5-5":    noOpus,
		"claude-opus-4-7-20260416":      noOpus,
		"databricks-claude-opus-4-6":    all,
		"databricks-claude-opus-4":      all,
		"claude-opus-4-20250514":        all,
		"claude-3-opus-20240229":        all,
		"databricks-claude-sonnet-4-8":  all,
		"databricks-meta-llama-3-3-70b": all,
		"":                              all,
	} {
		cases = append(cases, requestCase{"model " + model, of(model, all), of(model, want)})
	}
	runRequests(t, ChatCompletions, "", cases)
	runRequests(t, AnthropicMessages, "", cases)
	runRequests(t, ChatCompletions, "databricks-gemini-2-5-pro", []requestCase{
		{"the path beats the body", of("databricks-gpt-5", all), of("databricks-gpt-5", noGemini)},
	})
	runRequests(t, ChatCompletions, "", []requestCase{
		{"all of it goes", `{ "stream_options":1 , "stream_options":2 , "model":"gemini" }`, `{ "model":"gemini" }`},
		{"at the end", `{"model":"gemini","stream_options":1 }`, `{"model":"gemini" }`},
		{"model twice", `{"model":"gemini","stream_options":1,"model":"x"}`, ""},
		{"model of another kind", `{"model":["gemini"],"stream_options":1}`, ""},
	})
	for _, q := range quirkTable {
		if q.why == "" || q.report == "" {
			t.Errorf("%+v: a quirk needs its reason and report", q)
		}
	}
}

func TestGeminiCallIDs(t *testing.T) {
	runRequests(t, GeminiGenerate, "gemini-3-1-pro", []requestCase{
		{
			"both spellings", `{"contents":[{"role":"model","parts":[{"functionCall":{"id":"a","name":"ls","args":{"id":1}}},{"function_call":{"name":"ls","id":"b"}}]},{"parts":[{"functionResponse":{"name":"ls","id":"a","response":{"id":2}}},{"function_response":{"id":"b"}},{"text":"id"}]}]}`,
			`{"contents":[{"role":"model","parts":[{"functionCall":{"name":"ls","args":{"id":1}}},{"function_call":{"name":"ls"}}]},{"parts":[{"functionResponse":{"name":"ls","response":{"id":2}}},{"function_response":{}},{"text":"id"}]}]}`,
		},
		{"clean", `{"contents":[{"role":"user","parts":[{"text":"hi"}]}]}`, ""},
		{"not understood", `{"contents":{"parts":[{"functionCall":{"id":"a"}}]}}`, ""},
		{"nor this", `{"contents":["",null,{"parts":{}},{"parts":["",{"functionCall":"id"}]}]}`, ""},
	})
	runRequests(t, GeminiGenerate, "other", []requestCase{
		{"another model", `{"contents":[{"parts":[{"functionCall":{"id":"a"}}]}]}`, ""},
	})
}
