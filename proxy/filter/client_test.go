package filter

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// clientCall is a tool call as a client assembles it.
type clientCall struct{ ID, Type, Name, Arguments string }

// clientMessage is an answer as a client assembles it.
type clientMessage struct {
	Content, Reasoning, Finish string
	Calls                      []clientCall
}

// wireCall is an element of tool_calls, in a stream or not.
type wireCall struct {
	Index    int
	ID, Type *string
	Function struct{ Name, Arguments *string }
}

type wireMessage struct {
	Content   *string
	Reasoning *string    `json:"reasoning_content"`
	Calls     []wireCall `json:"tool_calls"`
}

type wireAnswer struct {
	Choices []struct {
		Message, Delta wireMessage
		Finish         *string `json:"finish_reason"`
	}
}

func addTo(to *string, piece *string) {
	if piece != nil {
		*to += *piece
	}
}

// readPlain reads an answer that is one JSON text as clients do.
func readPlain(t *testing.T, body []byte) clientMessage {
	t.Helper()
	var w wireAnswer
	if err := json.Unmarshal(body, &w); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	var m clientMessage
	c := w.Choices[0]
	addTo(&m.Content, c.Message.Content)
	addTo(&m.Reasoning, c.Message.Reasoning)
	addTo(&m.Finish, c.Finish)
	for _, call := range c.Message.Calls {
		var got clientCall
		got.add(call)
		m.Calls = append(m.Calls, got)
	}
	return m
}

func (c *clientCall) add(w wireCall) {
	addTo(&c.ID, w.ID)
	addTo(&c.Type, w.Type)
	addTo(&c.Name, w.Function.Name)
	addTo(&c.Arguments, w.Function.Arguments)
}

// events returns the data of a stream's events, read as the standard says.
func events(stream string) (data []string) {
	stream = strings.ReplaceAll(strings.ReplaceAll(stream, "\r\n", "\n"), "\r", "\n")
	lines := strings.Split(strings.TrimPrefix(stream, "\ufeff"), "\n")
	var event []string
	for _, line := range lines[:len(lines)-1] { // the last one has no line end, and so isn't a line
		if line == "" {
			if len(event) > 0 {
				data = append(data, strings.Join(event, "\n"))
			}
			event = nil
			continue
		}
		field, value, _ := strings.Cut(line, ":")
		if field == "data" {
			event = append(event, strings.TrimPrefix(value, " "))
		}
	}
	return data
}

// readStream reads a stream as clients do, and checks what they rely on: a
// call's first chunk has its id, type and name, no later chunk has a name, and the
// arguments of a call that was changed are complete before any content after it.
func readStream(t *testing.T, stream string, mended func(clientCall) bool) clientMessage {
	t.Helper()
	var m clientMessage
	ended := false
	for _, data := range events(stream) {
		if ended {
			t.Fatalf("%s after the end of\n%s", data, stream)
		}
		if data == "[DONE]" {
			ended = true
			continue
		}
		var w wireAnswer
		if err := json.Unmarshal([]byte(data), &w); err != nil {
			t.Fatalf("%v: %s", err, data)
		}
		for _, c := range w.Choices {
			if c.Delta.Content != nil && *c.Delta.Content != "" || c.Finish != nil {
				for _, call := range m.Calls {
					if mended(call) && json.NewDecoder(strings.NewReader(call.Arguments)).Decode(new(map[string]any)) != nil {
						t.Fatalf("%+v isn't whole before %s in\n%s", call, data, stream)
					}
				}
			}
			addTo(&m.Content, c.Delta.Content)
			addTo(&m.Reasoning, c.Delta.Reasoning)
			for _, call := range c.Delta.Calls {
				addChunk(t, &m, call, stream)
			}
			if c.Finish != nil && m.Finish != "" {
				t.Fatalf("it ends twice:\n%s", stream)
			}
			addTo(&m.Finish, c.Finish)
		}
	}
	return m
}

func addChunk(t *testing.T, m *clientMessage, call wireCall, stream string) {
	t.Helper()
	if call.Index == len(m.Calls) {
		m.Calls = append(m.Calls, clientCall{})
		if call.ID == nil || call.Type == nil || call.Function.Name == nil || *call.Function.Name == "" {
			t.Fatalf("the first chunk of call %d has no name in\n%s", call.Index, stream)
		}
	} else if call.Index > len(m.Calls) {
		t.Fatalf("call %d comes before %d in\n%s", call.Index, len(m.Calls), stream)
	} else if call.Function.Name != nil {
		t.Fatalf("call %d is named twice in\n%s", call.Index, stream)
	}
	m.Calls[call.Index].add(call)
}

// answer makes an answer, as one JSON text and as a stream. A clean one needs
// no change.
func (g *generator) answer() (plain, stream string, clean bool) {
	clean = g.rarely(4)
	quote := func(s string) string {
		q, err := json.Marshal(s)
		if err != nil {
			panic(err)
		}
		return string(q)
	}
	end := g.pick("\n", "\r\n")
	field := g.pick("data: ", "data:", "id: 7"+end+"data: ")
	var b strings.Builder
	chunk := func(delta, finish string) {
		if g.rarely(8) {
			b.WriteString(": ping" + end + end)
		}
		b.WriteString(field + `{"id":"x","choices":[{"index":0,"delta":{` + delta + `},"finish_reason":` + finish + `}]}` + end + end)
	}
	content, parts := "", []string{}
	say := func() {
		if clean {
			content += "[a]"
			chunk(`"content":"[a]"`, "null")
			return
		}
		part := g.pick(`{"type":"text","text":"a\n"}`, `{"type":"reasoning","summary":[{"type":"summary_text","text":"hm"}]}`, `{"type":"text","text":"é"}`)
		parts = append(parts, part)
		chunk(`"content":[`+part+`]`, "null")
	}
	for range g.choose(3) {
		say()
	}
	calls, pieces := g.calls(quote, clean)
	for len(pieces) > 0 {
		n := 1 + g.choose(min(2, len(pieces)))
		chunk(`"tool_calls":[`+strings.Join(pieces[:n], ",")+`]`, "null")
		pieces = pieces[n:]
		if g.rarely(8) {
			say()
		}
	}
	finish := g.pick(`"stop"`, `"tool_calls"`, `"length"`)
	if clean && len(calls) > 0 {
		finish = `"tool_calls"`
	}
	chunk("", finish)
	if g.choose(2) == 0 {
		b.WriteString(field + "[DONE]" + end + end)
	}
	if clean {
		content = `"content":` + quote(content)
	} else {
		content = `"content":[` + strings.Join(parts, ",") + `]`
	}
	plain = `{"choices":[{"index":0,"message":{"role":"assistant",` + content + `,"tool_calls":[` + strings.Join(calls, ",") + `]},"finish_reason":` + finish + `}]}`
	return plain, b.String(), clean
}

// calls makes calls, whole and in pieces. The pieces of different calls are
// mixed, but each call starts after the one before it.
func (g *generator) calls(quote func(string) string, clean bool) (calls, pieces []string) {
	var queues [][]string
	for i := range g.choose(4) {
		name := g.pick(wrapperName, "bash", wrapperName)
		if clean {
			name = "bash"
		}
		args := g.pick(`{"name":"bash","cmd":"ls \"a\" \\ é{}[]"}`, `{"cmd":"ls\n" , "name":"read" }`, `{"name":"bash"}`, `{"name":"Bob"}`, `{"x":{"name":"bash"}}`, `{}`, `[1]`, `{"name":"bash"`, `{"name":"bash"}{}`, ` {"name":"read"} `)
		id := fmt.Sprintf("c%d", i)
		calls = append(calls, fmt.Sprintf(`{"id":%q,"type":"function","function":{"name":%q,"arguments":%s}}`, id, name, quote(args)))
		queues = append(queues, g.pieces(i, id, name, args, quote, clean))
	}
	started := 0
	for {
		var open []int
		for i := range queues {
			if len(queues[i]) > 0 && i <= started {
				open = append(open, i)
			}
		}
		if len(open) == 0 {
			return calls, pieces
		}
		i := open[g.choose(len(open))]
		pieces = append(pieces, queues[i][0])
		queues[i] = queues[i][1:]
		started = max(started, i+1)
	}
}

func (g *generator) pieces(index int, id, name, args string, quote func(string) string, clean bool) []string {
	text := []rune(args)
	cut := func() string {
		n := g.choose(len(text) + 1)
		piece := string(text[:n])
		text = text[n:]
		return quote(piece)
	}
	var list []string
	first := `{"index":%d,"id":%q,"type":"function","function":{"name":%q,"arguments":%s}}`
	if !clean && g.rarely(6) { // the name comes late
		list = append(list, fmt.Sprintf(`{"index":%d,"id":%q,"type":"function","function":{"arguments":%s}}`, index, id, cut()),
			fmt.Sprintf(`{"index":%d,"function":{"name":%q}}`, index, name))
	} else {
		list = append(list, fmt.Sprintf(first, index, id, name, cut()))
	}
	for len(text) > 0 {
		if len(list) > 8 {
			g.data = nil
			list = append(list, fmt.Sprintf(`{"index":%d,"function":{"arguments":%s}}`, index, quote(string(text))))
			break
		}
		list = append(list, fmt.Sprintf(`{"index":%d,"function":{%s"arguments":%s}}`, index, g.pick("", `"name":null,`), cut()))
	}
	return list
}
