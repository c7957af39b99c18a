package workspacetest

import "maps"

func (s *speech) completion(kind string, choices []object) object {
	return object{"id": "chatcmpl-" + s.id, "object": kind, "created": s.created, "model": s.model, "choices": choices}
}

func (s *speech) chatUsage() object {
	return object{"prompt_tokens": s.in, "completion_tokens": s.out(), "total_tokens": s.in + s.out()}
}

func chatCall(index int, t ToolCall) object {
	return object{"index": index, "id": t.ID, "type": "function", "function": object{"name": t.Name, "arguments": t.Arguments}}
}

func (s *speech) chat() object {
	message := object{"role": "assistant", "content": s.Text}
	var calls []object
	for i, t := range s.Calls {
		calls = append(calls, chatCall(i, t))
	}
	if calls != nil {
		message["tool_calls"] = calls
	}
	choice := object{"index": 0, "message": message, "finish_reason": s.finish("stop", "tool_calls")}
	whole := s.completion("chat.completion", []object{choice})
	whole["usage"] = s.chatUsage()
	return whole
}

func (s *speech) chatEvents() (events []string) {
	const kind = "chat.completion.chunk"
	add := func(delta object, finish any) {
		events = append(events, data(s.completion(kind, []object{{"index": 0, "delta": delta, "finish_reason": finish}})))
	}
	addCall := func(call object) { add(object{"tool_calls": []object{call}}, nil) }
	add(object{"role": "assistant", "content": ""}, nil)
	for _, piece := range s.pieces {
		add(object{"content": piece}, nil)
	}
	for i, t := range s.Calls {
		addCall(chatCall(i, ToolCall{ID: t.ID, Name: t.Name}))
		for _, piece := range split(t.Arguments, 3) {
			addCall(object{"index": i, "function": object{"arguments": piece}})
		}
	}
	add(object{}, s.finish("stop", "tool_calls"))
	if s.usage {
		last := s.completion(kind, []object{})
		last["usage"] = s.chatUsage()
		events = append(events, data(last))
	}
	return append(events, "data: [DONE]\n\n")
}

func (s *speech) response(status string, output []object) object {
	return object{
		"id": "resp_" + s.id, "object": "response", "created_at": s.created, "status": status, "error": nil, "incomplete_details": nil,
		"model": s.model, "output": output, "parallel_tool_calls": true, "tool_choice": "auto", "tools": []object{},
		"usage": object{
			"input_tokens": s.in, "input_tokens_details": object{"cached_tokens": 0}, "output_tokens": s.out(),
			"output_tokens_details": object{"reasoning_tokens": 0}, "total_tokens": s.in + s.out(),
		},
	}
}

func outputText(text string) object {
	return object{"type": "output_text", "text": text, "annotations": []object{}}
}

// output returns the finished items of a response.
func (s *speech) output() []object {
	items := []object{}
	if s.hasText() {
		items = append(items, object{"type": "message", "id": "msg_" + s.id, "status": "completed", "role": "assistant", "content": []object{outputText(s.Text)}})
	}
	for _, t := range s.Calls {
		items = append(items, object{"type": "function_call", "id": "fc_" + t.ID, "call_id": t.ID, "name": t.Name, "arguments": t.Arguments, "status": "completed"})
	}
	return items
}

func (s *speech) responseEvents() (events []string) {
	add := func(kind string, o object) {
		o["type"], o["sequence_number"] = "response."+kind, len(events)
		events = append(events, event(o))
	}
	add("created", object{"response": s.response("in_progress", []object{})})
	add("in_progress", object{"response": s.response("in_progress", []object{})})
	for i, item := range s.output() {
		addTo := func(kind string, o object) {
			o["output_index"], o["item_id"] = i, item["id"]
			add(kind, o)
		}
		begun := maps.Clone(item)
		begun["status"] = "in_progress"
		if arguments, isCall := item["arguments"].(string); isCall {
			begun["arguments"] = ""
			addTo("output_item.added", object{"item": begun})
			for _, piece := range split(arguments, 3) {
				addTo("function_call_arguments.delta", object{"delta": piece})
			}
			addTo("function_call_arguments.done", object{"arguments": arguments})
		} else {
			begun["content"] = []object{}
			addTo("output_item.added", object{"item": begun})
			addTo("content_part.added", object{"content_index": 0, "part": outputText("")})
			for _, piece := range s.pieces {
				addTo("output_text.delta", object{"content_index": 0, "delta": piece})
			}
			addTo("output_text.done", object{"content_index": 0, "text": s.Text})
			addTo("content_part.done", object{"content_index": 0, "part": outputText(s.Text)})
		}
		addTo("output_item.done", object{"item": item})
	}
	add("completed", object{"response": s.response("completed", s.output())})
	return events
}
