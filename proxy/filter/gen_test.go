package filter

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
)

// gen makes JSON out of the bytes of a fuzzer: each choice takes one. When they
// are used up, it chooses the first of all, so that what it makes has an end.
type gen struct{ data []byte }

// randomGen is a gen for a test that isn't fuzzed.
func randomGen(seed uint64) *gen {
	r := rand.New(rand.NewPCG(seed, 1))
	data := make([]byte, 30+r.IntN(400))
	for i := range data {
		data[i] = byte(r.Uint32())
	}
	return &gen{data}
}

// n chooses a number less than k.
func (g *gen) n(k int) int {
	if len(g.data) == 0 {
		return 0
	}
	c := g.data[0]
	g.data = g.data[1:]
	return int(c) % k
}

// rarely is true once in k times.
func (g *gen) rarely(k int) bool { return g.n(k) == k-1 }

func (g *gen) of(options ...string) string { return options[g.n(len(options))] }

// space is white space as it may stand between tokens, most often none.
func (g *gen) space() string {
	if g.rarely(16) {
		return g.of(" ", "\n", "\t ")
	}
	return ""
}

func (g *gen) list(items []string) string {
	return "[" + g.space() + strings.Join(items, g.space()+","+g.space()) + g.space() + "]"
}

func (g *gen) object(members ...string) string {
	var kept []string
	for _, m := range members {
		if m != "" {
			kept = append(kept, m)
		}
	}
	if g.rarely(8) {
		kept = append(kept, g.of(`"cache_control":{"type":"ephemeral"}`, `"name":"ann"`, `"x":[1,{"y":null}]`))
	}
	return "{" + g.space() + strings.Join(kept, g.space()+","+g.space()) + g.space() + "}"
}

// text is a JSON string that isn't blank, most often.
func (g *gen) text() string {
	if g.rarely(8) {
		return g.of(`""`, `" "`, `"\n\u00a0"`, `null`)
	}
	return g.of(`"hi"`, `"a\"b\\"`, `"é\u2028"`, `"\ud83d\ude00"`)
}

func (g *gen) textBlock() string {
	if g.rarely(24) {
		return g.of(`{"type":"text"}`, `{"type":"text","text":3}`, `{"type":"image","source":{}}`, `{"typ\u0065":"text","text":""}`)
	}
	return g.object(`"type":"text"`, `"text":`+g.text())
}

func (g *gen) blocks(n int) []string {
	var list []string
	for range n {
		list = append(list, g.textBlock())
	}
	return list
}

// content is a "content" member, or none.
func (g *gen) content() string {
	if g.rarely(24) {
		return g.of(``, `"content":7`, `"content":["a"]`, `"content":[]`)
	}
	if g.n(2) == 0 {
		return `"content":` + g.text()
	}
	return `"content":` + g.list(g.blocks(1+g.n(3)))
}

// messages is a conversation. Most of it is as it should be.
func (g *gen) messages(api API) string {
	var list []string
	add := func(s string) {
		if !g.rarely(24) { // some get lost
			list = append(list, s)
		}
	}
	if g.n(2) == 0 && api == ChatCompletions {
		add(g.object(`"role":`+g.of(`"system"`, `"developer"`), g.content()))
	}
	add(g.object(`"role":"user"`, g.content()))
	for turn := range 1 + g.n(5) {
		var ids []string
		for i := range g.n(4) {
			ids = append(ids, fmt.Sprintf(`"c%d_%d"`, turn, i))
		}
		if api == ChatCompletions {
			g.chatTurn(add, ids)
		} else {
			g.anthropicTurn(add, ids)
		}
		if g.rarely(16) {
			add(g.of(`{"role":"function","content":""}`, `null`, `{"role":"assistant","content":""}`, `{"role":"user","content":"","content":"a"}`))
		}
	}
	return g.list(list)
}

func (g *gen) chatTurn(add func(string), ids []string) {
	var calls []string
	for _, id := range ids {
		calls = append(calls, g.object(`"id":`+id, `"type":"function"`, `"function":{"name":"ls","arguments":"{}"}`))
	}
	members := []string{`"role":"assistant"`, g.content()}
	if len(calls) > 0 {
		members[1] = g.of(`"content":null`, ``, `"content":""`, members[1])
		members = append(members, `"tool_calls":`+g.list(calls))
	}
	add(g.object(members...))
	for _, id := range ids {
		if g.rarely(12) {
			id = g.of(`"c0_0"`, `"zz"`, `null`)
		}
		add(g.object(`"role":"tool"`, `"tool_call_id":`+id, g.content()))
	}
	if len(ids) == 0 || g.rarely(4) {
		add(g.object(`"role":"user"`, g.content()))
	}
}

func (g *gen) anthropicTurn(add func(string), ids []string) {
	blocks := g.blocks(g.n(2))
	var results []string
	for _, id := range ids {
		blocks = append(blocks, g.object(`"type":"tool_use"`, `"id":`+id, `"name":"ls"`, `"input":{}`))
		if !g.rarely(12) {
			if g.rarely(12) {
				id = g.of(`"c0_0"`, `"zz"`, `null`)
			}
			results = append(results, g.object(`"type":"tool_result"`, `"tool_use_id":`+id, g.content()))
		}
	}
	if len(blocks) == 0 {
		add(g.object(`"role":"assistant"`, g.content()))
	} else {
		add(g.object(`"role":"assistant"`, `"content":`+g.list(blocks)))
	}
	if results = append(results, g.blocks(g.n(2))...); len(results) == 0 {
		add(g.object(`"role":"user"`, g.content()))
	} else {
		add(g.object(`"role":"user"`, `"content":`+g.list(results)))
	}
}

// request is a request of this API for this model.
func (g *gen) request(api API, model string) string {
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
	if g.n(2) == 0 {
		schema := g.schema(3)
		if api == ChatCompletions {
			members = append(members, `"tools":[{"type":"function","function":`+g.object(`"name":"ls"`, `"parameters":`+schema)+`}]`)
		} else {
			members = append(members, `"tools":[`+g.object(`"name":"ls"`, `"input_schema":`+schema)+`]`)
		}
	}
	if api == AnthropicMessages && g.rarely(4) {
		members = append(members, g.of(`"system":"a"`, `"system":""`, `"system":`+g.list(g.blocks(2))))
	}
	return "{" + g.space() + strings.Join(members, g.space()+","+g.space()) + g.space() + "}"
}

// escaped writes a JSON text another way: each ASCII character in its strings as
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
func (g *gen) schema(depth int) string {
	s := g.subschema(depth)
	if g.n(2) == 0 || s == "{}" {
		return s
	}
	defs := fmt.Sprintf(`"$defs":{"A":%s,"B":%s}`, g.subschema(depth-1), g.subschema(depth-1))
	return "{" + defs + "," + s[1:]
}

func (g *gen) subschema(depth int) string {
	if depth == 0 {
		return g.of(`{"type":"string"}`, `{"type":"integer","minimum":1}`, `{}`)
	}
	switch g.n(8) {
	case 0:
		return `{"type":"string"}`
	case 1:
		return g.object(`"type":"string"`, g.of(``, `"pattern":"^a"`, `"minLength":1`, `"format":"date"`))
	case 2:
		return g.object(`"type":`+g.of(`"integer"`, `"number"`), g.of(``, `"minimum":1`, `"exclusiveMaximum":9`))
	case 3:
		return g.object(`"$ref":`+g.of(`"#/$defs/A"`, `"#/$defs/B"`, `"#"`, `"#/$defs/C"`), g.of(``, `"description":"d"`, `"minimum":2`))
	case 4:
		return g.object(`"type":"array"`, `"items":`+g.subschema(depth-1), g.of(``, `"minItems":1`))
	case 5:
		return g.object(`"anyOf":[`+g.subschema(depth-1)+`,`+g.subschema(depth-1)+`]`, g.of(``, `"default":{"pattern":1}`))
	default:
		name := g.of(`"a"`, `"pattern"`, `"$ref"`, `"minimum"`)
		return g.object(`"type":"object"`, `"properties":{`+name+`:`+g.subschema(depth-1)+`,"b":`+g.subschema(depth-1)+`}`,
			`"required":[`+name+`]`, g.of(``, `"additionalProperties":false`, `"$schema":"s"`))
	}
}
