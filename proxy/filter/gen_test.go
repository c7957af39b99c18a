package filter

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
)

// generator makes JSON from the bytes of a fuzzer. Each choice takes one byte. When
// they are used up, every choice is the first, so that the JSON comes to an end.
type generator struct{ data []byte }

// randomGenerator is a generator for tests that aren't fuzzed.
func randomGenerator(seed uint64) *generator {
	r := rand.New(rand.NewPCG(seed, 1))
	data := make([]byte, 30+r.IntN(400))
	for i := range data {
		data[i] = byte(r.Uint32())
	}
	return &generator{data}
}

// choose returns a number less than k.
func (g *generator) choose(k int) int {
	if len(g.data) == 0 {
		return 0
	}
	c := g.data[0]
	g.data = g.data[1:]
	return int(c) % k
}

// rarely is true once in k times.
func (g *generator) rarely(k int) bool { return g.choose(k) == k-1 }

func (g *generator) pick(options ...string) string { return options[g.choose(len(options))] }

// space is white space between two tokens, most often none.
func (g *generator) space() string {
	if g.rarely(16) {
		return g.pick(" ", "\n", "\t ")
	}
	return ""
}

func (g *generator) list(items []string) string {
	return "[" + g.space() + strings.Join(items, g.space()+","+g.space()) + g.space() + "]"
}

func (g *generator) object(members ...string) string {
	var kept []string
	for _, m := range members {
		if m != "" {
			kept = append(kept, m)
		}
	}
	if g.rarely(8) {
		kept = append(kept, g.pick(`"cache_control":{"type":"ephemeral"}`, `"name":"ann"`, `"x":[1,{"y":null}]`))
	}
	return "{" + g.space() + strings.Join(kept, g.space()+","+g.space()) + g.space() + "}"
}

// text is a JSON string that isn't blank, most often.
func (g *generator) text() string {
	if g.rarely(8) {
		return g.pick(`""`, `" "`, `"\n\u00a0"`, `null`)
	}
	return g.pick(`"hi"`, `"a\"b\\"`, `"é\u2028"`, `"\ud83d\ude00"`)
}

func (g *generator) textBlock() string {
	if g.rarely(24) {
		return g.pick(`{"type":"text"}`, `{"type":"text","text":3}`, `{"type":"image","source":{}}`, `{"typ\u0065":"text","text":""}`)
	}
	return g.object(`"type":"text"`, `"text":`+g.text())
}

func (g *generator) blocks(n int) []string {
	var list []string
	for range n {
		list = append(list, g.textBlock())
	}
	return list
}

// content is a "content" member, or none.
func (g *generator) content() string {
	if g.rarely(24) {
		return g.pick(``, `"content":7`, `"content":["a"]`, `"content":[]`)
	}
	if g.choose(2) == 0 {
		return `"content":` + g.text()
	}
	return `"content":` + g.list(g.blocks(1+g.choose(3)))
}

// messages is a conversation, most of it as it should be.
func (g *generator) messages(api API) string {
	var list []string
	add := func(s string) {
		if !g.rarely(24) { // some get lost
			list = append(list, s)
		}
	}
	if g.choose(2) == 0 && api == ChatCompletions {
		add(g.object(`"role":`+g.pick(`"system"`, `"developer"`), g.content()))
	}
	add(g.object(`"role":"user"`, g.content()))
	for turn := range 1 + g.choose(5) {
		var ids []string
		for i := range g.choose(4) {
			ids = append(ids, fmt.Sprintf(`"c%d_%d"`, turn, i))
		}
		if api == ChatCompletions {
			g.chatTurn(add, ids)
		} else {
			g.anthropicTurn(add, ids)
		}
		if g.rarely(16) {
			add(g.pick(`{"role":"function","content":""}`, `null`, `{"role":"assistant","content":""}`, `{"role":"user","content":"","content":"a"}`))
		}
	}
	return g.list(list)
}

func (g *generator) chatTurn(add func(string), ids []string) {
	var calls []string
	for _, id := range ids {
		calls = append(calls, g.object(`"id":`+id, `"type":"function"`, `"function":{"name":"ls","arguments":"{}"}`))
	}
	members := []string{`"role":"assistant"`, g.content()}
	if len(calls) > 0 {
		members[1] = g.pick(`"content":null`, ``, `"content":""`, members[1])
		members = append(members, `"tool_calls":`+g.list(calls))
	}
	add(g.object(members...))
	for _, id := range ids {
		if g.rarely(12) {
			id = g.pick(`"c0_0"`, `"zz"`, `null`)
		}
		add(g.object(`"role":"tool"`, `"tool_call_id":`+id, g.content()))
	}
	if len(ids) == 0 || g.rarely(4) {
		add(g.object(`"role":"user"`, g.content()))
	}
}

func (g *generator) anthropicTurn(add func(string), ids []string) {
	blocks := g.blocks(g.choose(2))
	var results []string
	for _, id := range ids {
		blocks = append(blocks, g.object(`"type":"tool_use"`, `"id":`+id, `"name":"ls"`, `"input":{}`))
		if !g.rarely(12) {
			if g.rarely(12) {
				id = g.pick(`"c0_0"`, `"zz"`, `null`)
			}
			results = append(results, g.object(`"type":"tool_result"`, `"tool_use_id":`+id, g.content()))
		}
	}
	if len(blocks) == 0 {
		add(g.object(`"role":"assistant"`, g.content()))
	} else {
		add(g.object(`"role":"assistant"`, `"content":`+g.list(blocks)))
	}
	if results = append(results, g.blocks(g.choose(2))...); len(results) == 0 {
		add(g.object(`"role":"user"`, g.content()))
	} else {
		add(g.object(`"role":"user"`, `"content":`+g.list(results)))
	}
}

// request is a request of this API for this model.
func (g *generator) request(api API, model string) string {
	name, err := json.Marshal(model)
	if err != nil {
		panic(err)
	}
	members := []string{`"model":` + string(name), `"messages":` + g.messages(api)}
	for _, m := range []string{`"stream":true`, `"stream_options":{"include_usage":true}`, `"temperature":0.5`, `"top_k":3`, `"reasoningSummary":"auto"`} {
		if g.rarely(8) {
			members = append(members, m)
		}
	}
	if g.choose(2) == 0 {
		schema := g.schema(3)
		if api == ChatCompletions {
			members = append(members, `"tools":[{"type":"function","function":`+g.object(`"name":"ls"`, `"parameters":`+schema)+`}]`)
		} else {
			members = append(members, `"tools":[`+g.object(`"name":"ls"`, `"input_schema":`+schema)+`]`)
		}
	}
	if api == AnthropicMessages && g.rarely(4) {
		members = append(members, g.pick(`"system":"a"`, `"system":""`, `"system":`+g.list(g.blocks(2))))
	}
	return "{" + g.space() + strings.Join(members, g.space()+","+g.space()) + g.space() + "}"
}

// escaped returns a JSON text with each ASCII character of its strings written as
// an escape.
func escaped(text string) string {
	var b strings.Builder
	inside := false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '"':
			inside = !inside
			b.WriteByte(c)
		case inside && c == '\\':
			n := escapeLen([]byte(text[i:]))
			b.WriteString(text[i : i+n])
			i += n - 1
		case inside && c < 0x80:
			fmt.Fprintf(&b, `\u%04x`, c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// schema is a JSON Schema with definitions.
func (g *generator) schema(depth int) string {
	s := g.subschema(depth)
	if g.choose(2) == 0 || s == "{}" {
		return s
	}
	defs := fmt.Sprintf(`"$defs":{"A":%s,"B":%s}`, g.subschema(depth-1), g.subschema(depth-1))
	return "{" + defs + "," + s[1:]
}

func (g *generator) subschema(depth int) string {
	if depth == 0 {
		return g.pick(`{"type":"string"}`, `{"type":"integer","minimum":1}`, `{}`)
	}
	switch g.choose(8) {
	case 0:
		return `{"type":"string"}`
	case 1:
		return g.object(`"type":"string"`, g.pick(``, `"pattern":"^a"`, `"minLength":1`, `"format":"date"`))
	case 2:
		return g.object(`"type":`+g.pick(`"integer"`, `"number"`), g.pick(``, `"minimum":1`, `"exclusiveMaximum":9`))
	case 3:
		return g.object(`"$ref":`+g.pick(`"#/$defs/A"`, `"#/$defs/B"`, `"#"`, `"#/$defs/C"`), g.pick(``, `"description":"d"`, `"minimum":2`))
	case 4:
		return g.object(`"type":"array"`, `"items":`+g.subschema(depth-1), g.pick(``, `"minItems":1`))
	case 5:
		return g.object(`"anyOf":[`+g.subschema(depth-1)+`,`+g.subschema(depth-1)+`]`, g.pick(``, `"default":{"pattern":1}`))
	default:
		name := g.pick(`"a"`, `"pattern"`, `"$ref"`, `"minimum"`)
		return g.object(`"type":"object"`, `"properties":{`+name+`:`+g.subschema(depth-1)+`,"b":`+g.subschema(depth-1)+`}`,
			`"required":[`+name+`]`, g.pick(``, `"additionalProperties":false`, `"$schema":"s"`))
	}
}
