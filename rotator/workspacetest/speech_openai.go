package workspacetest

import "maps"

// completion is a chat completion, or a chunk of one.
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

// response is an answer of the responses API.
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
	begun := s.response("in_progress", []object{})
	begun["usage"] = nil
	add("created", object{"response": begun})
	add("in_progress", object{"response": begun})
	for i, item := range s.output() {
		addTo := func(kind string, o object) {
			o["output_index"], o["item_id"] = i, item["id"]
			add(kind, o)
		}
		if arguments, isCall := item["arguments"].(string); isCall {
			addCall(addTo, item, arguments)
		} else {
			s.addText(addTo, item)
		}
	}
	add("completed", object{"response": s.response("completed", s.output())})
	return events
}

// addText adds the events of an item that is text, and addCall those of a call.
func (s *speech) addText(add func(kind string, o object), item object) {
	begun := maps.Clone(item)
	begun["status"], begun["content"] = "in_progress", []object{}
	add("output_item.added", object{"item": begun})
	add("content_part.added", object{"content_index": 0, "part": outputText("")})
	for _, piece := range s.pieces {
		add("output_text.delta", object{"content_index": 0, "delta": piece})
	}
	add("output_text.done", object{"content_index": 0, "text": s.Text})
	add("content_part.done", object{"content_index": 0, "part": outputText(s.Text)})
	add("output_item.done", object{"item": item})
}

func addCall(add func(kind string, o object), item object, arguments string) {
	begun := maps.Clone(item)
	begun["status"], begun["arguments"] = "in_progress", ""
	add("output_item.added", object{"item": begun})
	for _, piece := range split(arguments, 3) {
		add("function_call_arguments.delta", object{"delta": piece})
	}
	add("function_call_arguments.done", object{"arguments": arguments})
	add("output_item.done", object{"item": item})
}
