package workspacetest

import (
	"encoding/json"
	"fmt"
	"strings"
)

func (s *speech) finish() string {
	if len(s.Calls) > 0 {
		return "tool_calls"
	}
	return "stop"
}

func (s *speech) chatUsage() string {
	return fmt.Sprintf(`{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d}`, s.in, s.out(), s.in+s.out())
}

func (s *speech) chatPlain() string {
	content, calls := q(s.Text), ""
	if len(s.Calls) > 0 {
		if s.Text == "" {
			content = "null"
		}
		list := make([]string, len(s.Calls))
		for i, t := range s.Calls {
			list[i] = fmt.Sprintf(`{"id":%s,"type":"function","function":{"name":%s,"arguments":%s}}`, q(t.ID), q(t.Name), q(t.Arguments))
		}
		calls = `,"tool_calls":[` + strings.Join(list, ",") + `]`
	}
	return fmt.Sprintf(`{"id":"chatcmpl-%s","object":"chat.completion","created":%d,"model":%s,"choices":[{"index":0,"message":{"role":"assistant","content":%s%s},"finish_reason":%q}],"usage":%s}`,
		s.id, s.created, q(s.model), content, calls, s.finish(), s.chatUsage())
}

func (s *speech) chatChunk(delta, finish string) string {
	return data(fmt.Sprintf(`{"id":"chatcmpl-%s","object":"chat.completion.chunk","created":%d,"model":%s,"choices":[{"index":0,"delta":%s,"finish_reason":%s}]}`,
		s.id, s.created, q(s.model), delta, finish))
}

func (s *speech) chatStream() []string {
	events := []string{s.chatChunk(`{"role":"assistant","content":""}`, "null")}
	for _, piece := range s.pieces {
		events = append(events, s.chatChunk(`{"content":`+q(piece)+`}`, "null"))
	}
	for i, t := range s.Calls {
		events = append(events, s.chatChunk(fmt.Sprintf(`{"tool_calls":[{"index":%d,"id":%s,"type":"function","function":{"name":%s,"arguments":""}}]}`, i, q(t.ID), q(t.Name)), "null"))
		for _, piece := range split(t.Arguments, 3) {
			events = append(events, s.chatChunk(fmt.Sprintf(`{"tool_calls":[{"index":%d,"function":{"arguments":%s}}]}`, i, q(piece)), "null"))
		}
	}
	events = append(events, s.chatChunk(`{}`, q(s.finish())))
	if s.usage {
		events = append(events, data(fmt.Sprintf(`{"id":"chatcmpl-%s","object":"chat.completion.chunk","created":%d,"model":%s,"choices":[],"usage":%s}`,
			s.id, s.created, q(s.model), s.chatUsage())))
	}
	return append(events, data("[DONE]"))
}

func (s *speech) completionsPlain() string {
	return fmt.Sprintf(`{"id":"cmpl-%s","object":"text_completion","created":%d,"model":%s,"choices":[{"index":0,"text":%s,"finish_reason":"stop"}],"usage":%s}`,
		s.id, s.created, q(s.model), q(s.Text), s.chatUsage())
}

func (s *speech) completionsStream() []string {
	chunk := func(text, finish string) string {
		return data(fmt.Sprintf(`{"id":"cmpl-%s","object":"text_completion","created":%d,"model":%s,"choices":[{"index":0,"text":%s,"finish_reason":%s}]}`,
			s.id, s.created, q(s.model), q(text), finish))
	}
	var events []string
	for _, piece := range s.pieces {
		events = append(events, chunk(piece, "null"))
	}
	return append(events, chunk("", `"stop"`), data("[DONE]"))
}

// embeddings returns a small vector for each input.
func (s *speech) embeddings(body []byte) string {
	var in struct {
		Input json.RawMessage `json:"input"`
	}
	var inputs []json.RawMessage
	if json.Unmarshal(body, &in) != nil || json.Unmarshal(in.Input, &inputs) != nil {
		inputs = []json.RawMessage{in.Input} // one string
	}
	list := make([]string, len(inputs))
	for i := range inputs {
		list[i] = fmt.Sprintf(`{"object":"embedding","index":%d,"embedding":[0.25,-0.5,%d]}`, i, i)
	}
	return fmt.Sprintf(`{"object":"list","data":[%s],"model":%s,"usage":{"prompt_tokens":%d,"total_tokens":%d}}`,
		strings.Join(list, ","), q(s.model), s.in, s.in)
}

// responsesWriter numbers the events of a response.
type responsesWriter struct {
	events []string
}

func (w *responsesWriter) add(name, format string, args ...any) {
	w.events = append(w.events, event(name,
		fmt.Sprintf(`{"type":%q,"sequence_number":%d,`, name, len(w.events))+fmt.Sprintf(format, args...)+`}`))
}

func (s *speech) response(status string, output []string, usage string) string {
	return fmt.Sprintf(`{"id":"resp_%s","object":"response","created_at":%d,"status":%q,"error":null,"incomplete_details":null,"model":%s,"output":[%s],"parallel_tool_calls":true,"tool_choice":"auto","tools":[],"usage":%s}`,
		s.id, s.created, status, q(s.model), strings.Join(output, ","), usage)
}

func (s *speech) message(status, content string) string {
	return fmt.Sprintf(`{"type":"message","id":"msg_%s","status":%q,"role":"assistant","content":[%s]}`, s.id, status, content)
}

func outputText(text string) string {
	return `{"type":"output_text","text":` + q(text) + `,"annotations":[]}`
}

func (s *speech) functionCall(t ToolCall, status, arguments string) string {
	return fmt.Sprintf(`{"type":"function_call","id":%s,"call_id":%s,"name":%s,"arguments":%s,"status":%q}`,
		q("fc_"+t.ID), q(t.ID), q(t.Name), q(arguments), status)
}

// output returns the finished items of a response.
func (s *speech) output() []string {
	var items []string
	if s.Text != "" || len(s.Calls) == 0 {
		items = append(items, s.message("completed", outputText(s.Text)))
	}
	for _, t := range s.Calls {
		items = append(items, s.functionCall(t, "completed", t.Arguments))
	}
	return items
}

func (s *speech) responsesUsage() string {
	return fmt.Sprintf(`{"input_tokens":%d,"input_tokens_details":{"cached_tokens":0},"output_tokens":%d,"output_tokens_details":{"reasoning_tokens":0},"total_tokens":%d}`,
		s.in, s.out(), s.in+s.out())
}

func (s *speech) responsesPlain() string {
	return s.response("completed", s.output(), s.responsesUsage())
}

func (s *speech) responsesStream() []string {
	var w responsesWriter
	w.add("response.created", `"response":%s`, s.response("in_progress", nil, "null"))
	w.add("response.in_progress", `"response":%s`, s.response("in_progress", nil, "null"))
	index := 0
	if s.Text != "" || len(s.Calls) == 0 {
		id := "msg_" + s.id
		at := fmt.Sprintf(`"item_id":%q,"output_index":%d,"content_index":0`, id, index)
		w.add("response.output_item.added", `"output_index":%d,"item":%s`, index, s.message("in_progress", ""))
		w.add("response.content_part.added", `%s,"part":%s`, at, outputText(""))
		for _, piece := range s.pieces {
			w.add("response.output_text.delta", `%s,"delta":%s`, at, q(piece))
		}
		w.add("response.output_text.done", `%s,"text":%s`, at, q(s.Text))
		w.add("response.content_part.done", `%s,"part":%s`, at, outputText(s.Text))
		w.add("response.output_item.done", `"output_index":%d,"item":%s`, index, s.message("completed", outputText(s.Text)))
		index++
	}
	for _, t := range s.Calls {
		at := fmt.Sprintf(`"item_id":%s,"output_index":%d`, q("fc_"+t.ID), index)
		w.add("response.output_item.added", `"output_index":%d,"item":%s`, index, s.functionCall(t, "in_progress", ""))
		for _, piece := range split(t.Arguments, 3) {
			w.add("response.function_call_arguments.delta", `%s,"delta":%s`, at, q(piece))
		}
		w.add("response.function_call_arguments.done", `%s,"arguments":%s`, at, q(t.Arguments))
		w.add("response.output_item.done", `"output_index":%d,"item":%s`, index, s.functionCall(t, "completed", t.Arguments))
		index++
	}
	w.add("response.completed", `"response":%s`, s.responsesPlain())
	return w.events
}
