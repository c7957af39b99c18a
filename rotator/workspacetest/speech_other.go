package workspacetest

import (
	"fmt"
	"strings"
)

func (s *speech) stopReason() string {
	if len(s.Calls) > 0 {
		return "tool_use"
	}
	return "end_turn"
}

// arguments returns a call's arguments as a JSON value.
func (t ToolCall) arguments() string {
	if t.Arguments == "" {
		return "{}"
	}
	return t.Arguments
}

func (s *speech) messagesPlain() string {
	var blocks []string
	if s.Text != "" || len(s.Calls) == 0 {
		blocks = append(blocks, `{"type":"text","text":`+q(s.Text)+`}`)
	}
	for _, t := range s.Calls {
		blocks = append(blocks, fmt.Sprintf(`{"type":"tool_use","id":%s,"name":%s,"input":%s}`, q(t.ID), q(t.Name), t.arguments()))
	}
	return fmt.Sprintf(`{"id":"msg_%s","type":"message","role":"assistant","model":%s,"content":[%s],"stop_reason":%q,"stop_sequence":null,"usage":{"input_tokens":%d,"output_tokens":%d}}`,
		s.id, q(s.model), strings.Join(blocks, ","), s.stopReason(), s.in, s.out())
}

func (s *speech) messagesStream() []string {
	events := []string{event("message_start", fmt.Sprintf(
		`{"type":"message_start","message":{"id":"msg_%s","type":"message","role":"assistant","model":%s,"content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":%d,"output_tokens":1}}}`,
		s.id, q(s.model), s.in))}
	index := 0
	block := func(start, delta string, pieces []string) {
		events = append(events, event("content_block_start", fmt.Sprintf(`{"type":"content_block_start","index":%d,"content_block":%s}`, index, start)))
		if index == 0 {
			events = append(events, event("ping", `{"type":"ping"}`))
		}
		for _, piece := range pieces {
			events = append(events, event("content_block_delta", fmt.Sprintf(`{"type":"content_block_delta","index":%d,"delta":%s}`, index, fmt.Sprintf(delta, q(piece)))))
		}
		events = append(events, event("content_block_stop", fmt.Sprintf(`{"type":"content_block_stop","index":%d}`, index)))
		index++
	}
	if s.Text != "" || len(s.Calls) == 0 {
		block(`{"type":"text","text":""}`, `{"type":"text_delta","text":%s}`, s.pieces)
	}
	for _, t := range s.Calls {
		block(fmt.Sprintf(`{"type":"tool_use","id":%s,"name":%s,"input":{}}`, q(t.ID), q(t.Name)),
			`{"type":"input_json_delta","partial_json":%s}`, split(t.Arguments, 3))
	}
	return append(events,
		event("message_delta", fmt.Sprintf(`{"type":"message_delta","delta":{"stop_reason":%q,"stop_sequence":null},"usage":{"output_tokens":%d}}`, s.stopReason(), s.out())),
		event("message_stop", `{"type":"message_stop"}`))
}

func (s *speech) geminiChunk(text string, calls []ToolCall, finish string) string {
	var parts []string
	if text != "" {
		parts = append(parts, `{"text":`+q(text)+`}`)
	}
	for _, t := range calls {
		parts = append(parts, fmt.Sprintf(`{"functionCall":{"name":%s,"args":%s}}`, q(t.Name), t.arguments()))
	}
	end := ""
	if finish != "" {
		end = fmt.Sprintf(`,"finishReason":%q`, finish)
	}
	return fmt.Sprintf(`{"candidates":[{"content":{"role":"model","parts":[%s]}%s,"index":0}],"usageMetadata":{"promptTokenCount":%d,"candidatesTokenCount":%d,"totalTokenCount":%d},"modelVersion":%s,"responseId":%q}`,
		strings.Join(parts, ","), end, s.in, s.out(), s.in+s.out(), q(s.model), s.id)
}

func (s *speech) geminiChunks() []string {
	var chunks []string
	for _, piece := range s.pieces {
		chunks = append(chunks, s.geminiChunk(piece, nil, ""))
	}
	return append(chunks, s.geminiChunk("", s.Calls, "STOP"))
}

func (s *speech) geminiStream() []string {
	chunks := s.geminiChunks()
	for i := range chunks {
		chunks[i] = strings.TrimSuffix(data(chunks[i]), "\n\n") + "\r\n\r\n" // as Google ends its lines
	}
	return chunks
}

// geminiArray is the stream without alt=sse: one JSON array, in pieces.
func (s *speech) geminiArray() []string {
	chunks := s.geminiChunks()
	for i := range chunks {
		if i == 0 {
			chunks[i] = "[" + chunks[i]
		} else {
			chunks[i] = ",\r\n" + chunks[i]
		}
	}
	return append(chunks, "]")
}
