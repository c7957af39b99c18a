package workspacetest

import (
	"encoding/json"
	"strings"
)

// message is an answer of Anthropic's messages API.
func (s *speech) message() object {
	blocks := []object{}
	if s.hasText() {
		blocks = append(blocks, object{"type": "text", "text": s.Text})
	}
	for _, t := range s.Calls {
		blocks = append(blocks, object{"type": "tool_use", "id": t.ID, "name": t.Name, "input": json.RawMessage(t.Arguments)})
	}
	return object{
		"id": "msg_" + s.id, "type": "message", "role": "assistant", "model": s.model, "content": blocks,
		"stop_reason": s.finish("end_turn", "tool_use"), "stop_sequence": nil,
		"usage": object{"input_tokens": s.in, "output_tokens": s.out()},
	}
}

func (s *speech) messageEvents() (events []string) {
	add := func(o object) { events = append(events, event(o)) }
	start := s.message()
	start["content"], start["stop_reason"] = []object{}, nil
	add(object{"type": "message_start", "message": start})
	index := 0
	addBlock := func(block object, delta, field string, pieces []string) {
		add(object{"type": "content_block_start", "index": index, "content_block": block})
		if index == 0 {
			add(object{"type": "ping"})
		}
		for _, piece := range pieces {
			add(object{"type": "content_block_delta", "index": index, "delta": object{"type": delta, field: piece}})
		}
		add(object{"type": "content_block_stop", "index": index})
		index++
	}
	if s.hasText() {
		addBlock(object{"type": "text", "text": ""}, "text_delta", "text", s.pieces)
	}
	for _, t := range s.Calls {
		addBlock(object{"type": "tool_use", "id": t.ID, "name": t.Name, "input": object{}}, "input_json_delta", "partial_json", split(t.Arguments, 3))
	}
	add(object{
		"type": "message_delta", "delta": object{"stop_reason": s.finish("end_turn", "tool_use"), "stop_sequence": nil},
		"usage": object{"output_tokens": s.out()},
	})
	add(object{"type": "message_stop"})
	return events
}

// geminiChunk is a part of Gemini's answer; the last one has a reason to end.
func (s *speech) geminiChunk(texts []string, calls []ToolCall, finish string) object {
	parts := []object{}
	for _, text := range texts {
		parts = append(parts, object{"text": text})
	}
	for _, t := range calls {
		parts = append(parts, object{"functionCall": object{"name": t.Name, "args": json.RawMessage(t.Arguments)}})
	}
	candidate := object{"index": 0, "content": object{"role": "model", "parts": parts}}
	if finish != "" {
		candidate["finishReason"] = finish
	}
	return object{
		"candidates": []object{candidate}, "modelVersion": s.model, "responseId": s.id,
		"usageMetadata": object{"promptTokenCount": s.in, "candidatesTokenCount": s.out(), "totalTokenCount": s.in + s.out()},
	}
}

// geminiEvents is the stream with alt=sse.
func (s *speech) geminiEvents() (events []string) {
	add := func(chunk object) {
		events = append(events, strings.TrimSuffix(data(chunk), "\n\n")+"\r\n\r\n") // as Google ends its lines
	}
	for _, piece := range s.pieces {
		add(s.geminiChunk([]string{piece}, nil, ""))
	}
	add(s.geminiChunk(nil, s.Calls, "STOP"))
	return events
}
