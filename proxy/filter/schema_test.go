package filter

import (
	"fmt"
	"strings"
	"testing"
)

func TestSchemas(t *testing.T) {
	tools := func(schema string) string {
		return `{"model":"databricks-gemini-3-pro","tools":[{"type":"function","function":{"name":"ls","parameters":` + schema + `}}]}`
	}
	var cases []requestCase
	for _, c := range []requestCase{
		{"clean", `{ "type": "object", "properties": {"a": {"type": "string", "enum": ["x"]}} }`, ""},
		{
			"every keyword that goes", `{"$schema":"s","$id":"i","$comment":"c","type":"object","additionalProperties":{"type":"string"},"exclusiveMinimum":1,"exclusiveMaximum":2,"multipleOf":3,"minLength":4,"maxLength":5,"pattern":"^","minItems":6,"maxItems":7,"uniqueItems":true,"minProperties":8,"maxProperties":9,"patternProperties":{"x":{}},"title":"t"}`,
			`{"type":"object","title":"t"}`,
		},
		{"all of them", `{"$schema":"s"}`, `{}`},
		{"properties of these names", `{"type":"object","properties":{"pattern":{"type":"string"},"$ref":{"type":"string"},"minimum":{"type":"integer"},"properties":{"type":"object","properties":{"$id":{}}},"$defs":{}},"required":["pattern","$ref"]}`, ""},
		{
			"a property named pattern that has a pattern", `{"type":"object","properties":{"pattern":{"type":"string","pattern":"^a"}},"required":["pattern"]}`,
			`{"type":"object","properties":{"pattern":{"type":"string"}},"required":["pattern"]}`,
		},
		{"values that look like keywords", `{"default":{"pattern":1},"enum":[{"$schema":1}],"const":{"minimum":1,"type":"integer"},"examples":[{"$ref":"#"}],"x-y":{"pattern":1}}`, ""},
		{
			"bounds of integers", `{"properties":{"a":{"type":"integer","minimum":0,"maximum":9},"b":{"type":"number","minimum":0,"maximum":9},"c":{"type":["integer","null"],"minimum":0},"d":{"type":["string","number"],"minimum":0},"e":{"minimum":0}}}`,
			`{"properties":{"a":{"type":"integer"},"b":{"type":"number","minimum":0,"maximum":9},"c":{"type":["integer","null"]},"d":{"type":["string","number"],"minimum":0},"e":{"minimum":0}}}`,
		},
		{
			"inside all that holds schemas", `{"items":{"pattern":"a"},"anyOf":[{"pattern":"a"},true],"oneOf":[{"pattern":"a","type":"string"}],"allOf":[{"items":[{"pattern":"a"}]}],"not":{"pattern":"a"},"properties":{"p":{"items":{"pattern":"a"}}}}`,
			`{"items":{},"anyOf":[{},true],"oneOf":[{"type":"string"}],"allOf":[{"items":[{}]}],"not":{},"properties":{"p":{"items":{}}}}`,
		},
		{"boolean schemas", `{"type":"array","items":true,"properties":{"a":false}}`, ""},
		{"reference", `{"properties":{"a":{"$ref":"#/$defs/A"}},"$defs":{"A":{"type":"string","pattern":"x"}}}`, `{"properties":{"a":{"type":"string"}}}`},
		{"reference into definitions", `{"definitions":{"A":{"type":"string"}},"properties":{"a":{"$ref":"#/definitions/A"},"b":{"$ref":"#/definitions/A"}}}`, `{"properties":{"a":{"type":"string"},"b":{"type":"string"}}}`},
		{"reference with something beside it", `{"properties":{"a":{"$ref":"#/$defs/A","description":"mine"}},"$defs":{"A":{"type":"string","description":"its"}}}`, `{"properties":{"a":{"description":"mine","type":"string"}}}`},
		{"reference to a reference", `{"properties":{"a":{"$ref":"#/$defs/A"}},"$defs":{"A":{"$ref":"#/$defs/B","title":"A"},"B":{"type":"integer","minimum":1}}}`, `{"properties":{"a":{"title":"A","type":"integer"}}}`},
		{"bound beside a reference to an integer", `{"properties":{"a":{"$ref":"#/$defs/A","minimum":3}},"$defs":{"A":{"type":"integer"}}}`, `{"properties":{"a":{"type":"integer"}}}`},
		{"deeper reference", `{"properties":{"a":{"$ref":"#/$defs/A/properties/x"}},"$defs":{"A":{"properties":{"x":{"type":"string"}}}}}`, `{"properties":{"a":{"type":"string"}}}`},
		{"reference with escapes", `{"properties":{"a":{"$ref":"#/$defs/A~1b%20~0"}},"$defs":{"A/b ~":{"type":"string"}}}`, `{"properties":{"a":{"type":"string"}}}`},
		{"the root is a reference", `{"$ref":"#/$defs/A","$defs":{"A":{"type":"object","properties":{"b":{"$ref":"#/$defs/B"}}},"B":{"type":"string"}}}`, `{"type":"object","properties":{"b":{"type":"string"}}}`},
		{"recursive", `{"properties":{"a":{"$ref":"#/$defs/A"}},"$defs":{"A":{"type":"array","items":{"$ref":"#/$defs/A"}}}}`, `{"properties":{"a":{"type":"array","items":{"type":"object"}}}}`},
		{"recursive at once", `{"properties":{"a":{"$ref":"#/$defs/A"}},"$defs":{"A":{"$ref":"#/$defs/A"}}}`, `{"properties":{"a":{"type":"object"}}}`},
		{"recursive over two", `{"properties":{"a":{"$ref":"#/$defs/A"}},"$defs":{"A":{"properties":{"b":{"$ref":"#/$defs/B"}}},"B":{"properties":{"a":{"$ref":"#/$defs/A","description":"again"}}}}}`, `{"properties":{"a":{"properties":{"b":{"properties":{"a":{"description":"again","type":"object"}}}}}}}`},
		{"recursive over the root", `{"type":"object","properties":{"child":{"$ref":"#"}}}`, `{"type":"object","properties":{"child":{"type":"object"}}}`},
		{"used twice is not recursive", `{"properties":{"a":{"$ref":"#/$defs/A"},"b":{"items":{"$ref":"#/$defs/A"}}},"$defs":{"A":{"type":"string"}}}`, `{"properties":{"a":{"type":"string"},"b":{"items":{"type":"string"}}}}`},
		{"references that lead nowhere", `{"properties":{"a":{"$ref":"#/$defs/X"},"b":{"$ref":"https://x.example/s"},"c":{"$ref":"#/properties/a"},"d":{"$ref":7}}}`, ""},
		{"and one that does", `{"properties":{"a":{"$ref":"#/$defs/X"},"b":{"$ref":"#/$defs/B"}},"$defs":{"B":{}}}`, `{"properties":{"a":{"$ref":"#/$defs/X"},"b":{}}}`},
		{"escaped keyword", `{"patter\u006e":"a","type":"string"}`, `{"type":"string"}`},
		{"no schema", `"x"`, ""},
	} {
		c.in = tools(c.in)
		if c.want != "" {
			c.want = tools(c.want)
		}
		cases = append(cases, c)
	}
	runRequests(t, ChatCompletions, "", cases)
}

func TestSchemasOfEachAPI(t *testing.T) {
	dirty, clean := `{"type":"object","$schema":"s"}`, `{"type":"object"}`
	runRequests(t, ChatCompletions, "", []requestCase{
		{"another model", `{"model":"gpt-5","tools":[{"function":{"parameters":` + dirty + `}}]}`, ""},
		{
			"strict", `{"model":"gemini","tools":[{"function":{"strict":true,"parameters":` + dirty + `}},{"strict":true,"function":{"parameters":` + dirty + `}},{"function":{"strict":false,"parameters":` + dirty + `}}]}`,
			`{"model":"gemini","tools":[{"function":{"strict":true,"parameters":` + dirty + `}},{"strict":true,"function":{"parameters":` + dirty + `}},{"function":{"strict":false,"parameters":` + clean + `}}]}`,
		},
		{"odd tools", `{"model":"gemini","tools":[null,{},{"function":[]},{"function":{"parameters":null}}]}`, ""},
	})
	runRequests(t, AnthropicMessages, "", []requestCase{
		{
			"input_schema", `{"model":"gemini","tools":[{"name":"ls","input_schema":` + dirty + `},{"strict":true,"input_schema":` + dirty + `}]}`,
			`{"model":"gemini","tools":[{"name":"ls","input_schema":` + clean + `},{"strict":true,"input_schema":` + dirty + `}]}`,
		},
	})
	runRequests(t, GeminiGenerate, "gemini-3-pro", []requestCase{
		{
			"functionDeclarations", `{"tools":[{"functionDeclarations":[{"name":"ls","parameters":` + dirty + `,"parametersJsonSchema":` + dirty + `}]},{"function_declarations":[{"parameters":` + dirty + `}]},{"googleSearch":{}}]}`,
			`{"tools":[{"functionDeclarations":[{"name":"ls","parameters":` + clean + `,"parametersJsonSchema":` + dirty + `}]},{"function_declarations":[{"parameters":` + clean + `}]},{"googleSearch":{}}]}`,
		},
	})
}

// A few lines of definitions may stand for more than there is memory.
func TestSchemaThatExplodes(t *testing.T) {
	var defs strings.Builder
	for i := range 60 {
		fmt.Fprintf(&defs, `"A%d":{"properties":{"a":{"$ref":"#/$defs/A%d"},"b":{"$ref":"#/$defs/A%d"}}},`, i, i+1, i+1)
	}
	body := `{"model":"gemini","tools":[{"function":{"parameters":{"$ref":"#/$defs/A0","$defs":{` + defs.String() + `"A60":{"type":"string"}}}}}]}`
	runRequests(t, ChatCompletions, "", []requestCase{{"by twos", body, ""}})

	defs.Reset()
	for i := range 2 * maxRefDepth {
		fmt.Fprintf(&defs, `"A%d":{"items":{"$ref":"#/$defs/A%d"}},`, i, i+1)
	}
	body = `{"model":"gemini","tools":[{"function":{"parameters":{"$ref":"#/$defs/A0","$defs":{` + defs.String() + `"A":{}}}}}]}`
	runRequests(t, ChatCompletions, "", []requestCase{{"deep", body, ""}})
}
