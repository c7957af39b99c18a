package filter

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
)

// looks returns how often the filter looks at strings that have escapes, as each look
// costs an allocation.
func looks(api API, body string) float64 {
	return testing.AllocsPerRun(5, func() { Request(api, modelOf(api), nil, []byte(body), nil) })
}

// allocated returns how many bytes of memory the filter takes for a body, for each
// byte of it.
func allocated(api API, body string) float64 {
	text := []byte(body)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	Request(api, modelOf(api), nil, text, nil)
	runtime.ReadMemStats(&after)
	return float64(after.TotalAlloc-before.TotalAlloc) / float64(len(body))
}

// TestLooks: for a body of twice the size, strings are looked at twice as often.
func TestLooks(t *testing.T) {
	for _, c := range []hostileRequest{
		{"answers and calls", ChatCompletions, func(n int) string {
			calls := strings.Repeat(`{"id":"\u0063"},`, n) + `{"id":"c"}`
			return chat(`{"role":"assistant","tool_calls":[` + calls + `]},` + strings.Repeat(`{"role":"tool","tool_call_id":"\u0063x"},`, n) + hi)
		}},
		{"results and calls", AnthropicMessages, func(n int) string {
			calls := strings.Repeat(`{"type":"tool_use","id":"\u0063"},`, n) + `{}`
			results := strings.Repeat(`{"type":"tool_result","tool_use_id":"\u0063x"},`, n) + `{}`
			return chat(`{"role":"assistant","content":[` + calls + `]},{"role":"user","content":[` + results + `]}`)
		}},
		{"references and definitions", ChatCompletions, func(n int) string {
			return geminiTool(`{"properties":{` + elements(n, `"p%[1]d":{"$ref":"#/$defs/d%[1]d"}`) + `},"$defs":{` + elements(n, `"\u0064%d":{}`) + `}}`)
		}},
		{"keys of two schemas in a chain", ChatCompletions, func(n int) string {
			return geminiTool(`{"$ref":"#/$defs/A","$defs":{"A":{` + elements(n, `"\u0062%d":0`) + `}},` + elements(n, `"\u0061%d":0`) + `}`)
		}},
		{"references to a list of types", ChatCompletions, func(n int) string {
			types := strings.Repeat(`"\u0062xxxxxxxxx",`, n) + `"x"`
			return geminiTool(`{"$defs":{"A":{"type":[` + types + `]}},"properties":{` + elements(n, `"%d":{"type":1,"type":2,"$ref":"#/$defs/A"}`) + `}}`)
		}},
	} {
		small, large := looks(c.api, c.body(100)), looks(c.api, c.body(200))
		if small < 100 || large > 2.2*small {
			t.Errorf("%s: %.0f looks at 100 of them, %.0f at 200", c.name, small, large)
		}
	}
}

// elements makes n elements. format may hold their numbers.
func elements(n int, format string) string {
	var all []string
	for i := range n {
		all = append(all, fmt.Sprintf(format, i))
	}
	return strings.Join(all, ",")
}

// TestGrowth: no body becomes larger than its bound.
func TestGrowth(t *testing.T) {
	for _, h := range hostileRequests {
		for _, n := range []int{30_000, 300_000} {
			body := []byte(h.body(n))
			if out, _ := Request(h.api, modelOf(h.api), nil, body, nil); len(out) > 2*len(body)+1<<20 {
				t.Errorf("%s: %d bytes became %d", h.name, len(body), len(out))
			}
		}
	}
}

// TestNamesThatAreKept: the names of tools aren't kept while the response comes if they
// take much memory.
func TestNamesThatAreKept(t *testing.T) {
	for n, unwrapped := range map[int]bool{maxKeptText / 2: true, 8 * maxKeptText: false} {
		body := `{"tools":[` + list(n, `{"name":"x%d"}`) + `]}`
		_, call := Request(ChatCompletions, "", nil, []byte(body), nil)
		in := `{"choices":[{"message":{"tool_calls":[` + wrappedCall(`\"name\":\"x1\"`) + `]}}]}`
		if out, _ := call.filteredJSON([]byte(in)); (out != nil) != unwrapped {
			t.Errorf("with %d bytes of names a call became %s", n, out)
		}
	}
}

// TestNestedDefinitions: definitions inside one another don't become a schema that is
// nested deeper than one that comes in may be.
func TestNestedDefinitions(t *testing.T) {
	deep := func(inner string) string {
		return strings.Repeat(`{"not":`, 400) + inner + strings.Repeat("}", 400)
	}
	body := geminiTool(`{"$ref":"#/$defs/A","$defs":{"A":` + deep(`{"$ref":"#/$defs/B"}`) + `,"B":` + deep("{}") + `}}`)
	if out, _ := Request(ChatCompletions, "", nil, []byte(body), nil); string(out) != body {
		t.Errorf("%d bytes became %d", len(body), len(out))
	}
}

// TestAllocated: the memory that a body takes is in proportion to its size.
func TestAllocated(t *testing.T) {
	for _, c := range []struct {
		name string
		api  API
		body string
		most float64
	}{
		{
			"long ids that nothing answers", AnthropicMessages,
			chat(fmt.Sprintf(`{"role":"assistant","content":[%s]},`, list(1<<20, `{"type":"tool_use","id":"`+strings.Repeat("x", 5000)+`%d"}`)) + hi), 20,
		},
		{"messages of one byte", ChatCompletions, chat(strings.Repeat("1,", 1<<19) + "1"), 120},
	} {
		if got := allocated(c.api, c.body); got > c.most {
			t.Errorf("%s: each byte takes %.0f bytes of memory", c.name, got)
		}
	}
}
