package filter

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// family is a family of models, with a validator that accepts or refuses a
// request's body as they do on Databricks, as far as is known from what they
// answered in public. reference_test.go says what the rules make of a request;
// this says whether a model then takes it.
type family struct {
	api      API
	model    string // the name of one of them
	validate func(body []byte) error
}

var families = []family{
	{ChatCompletions, "databricks-claude-sonnet-4-5", chatRules{text: true, alternate: true, answers: true}.validate},
	{ChatCompletions, "databricks-claude-opus-4-8", chatRules{text: true, alternate: true, answers: true, refused: []string{"temperature", "top_p", "top_k"}}.validate},
	{ChatCompletions, "databricks-gpt-5-2", chatRules{answers: true, refused: []string{"reasoningSummary"}}.validate},
	{ChatCompletions, "databricks-gemini-3-1-pro", chatRules{text: true, answers: true, schemas: true, refused: []string{"stream_options"}}.validate},
	{ChatCompletions, "databricks-gpt-oss-120b", chatRules{refused: []string{"reasoningSummary"}}.validate},
	{ChatCompletions, "databricks-meta-llama-3-3-70b-instruct", chatRules{alternate: true, answers: true}.validate},
	{AnthropicMessages, "databricks-claude-sonnet-4-5", validateAnthropic},
}

// chatRules are what a family asks of chat completions.
type chatRules struct {
	text      bool     // no text may be blank
	alternate bool     // user and assistant take turns
	answers   bool     // calls are answered at once, and only calls are answered
	schemas   bool     // the tools' schemas are what Gemini takes
	refused   []string // members that it doesn't know
}

func (rules chatRules) validate(body []byte) error {
	var req struct {
		Messages []map[string]any
		Tools    []struct {
			Function struct {
				Parameters map[string]any
				Strict     bool
			}
		}
	}
	var all map[string]any
	if err := errors.Join(json.Unmarshal(body, &req), json.Unmarshal(body, &all)); err != nil {
		return err
	}
	for _, key := range rules.refused {
		if _, ok := all[key]; ok {
			return fmt.Errorf("unknown member %s", key)
		}
	}
	for _, t := range req.Tools {
		if rules.schemas && !t.Function.Strict {
			if err := checkGeminiSchema(t.Function.Parameters); err != nil {
				return err
			}
		}
	}
	return rules.checkMessages(req.Messages)
}

func (rules chatRules) checkMessages(msgs []map[string]any) error {
	var open []string // the calls that want an answer
	last := ""
	if len(msgs) == 0 {
		return errors.New("no messages")
	}
	for i, m := range msgs {
		role, _ := m["role"].(string)
		if role != "tool" && rules.answers && len(open) > 0 {
			return fmt.Errorf("message %d: calls without an answer: %v", i, open)
		}
		calls, err := chatCalls(m)
		if err != nil {
			return fmt.Errorf("message %d: %w", i, err)
		}
		switch role {
		case "system", "developer":
		case "user", "assistant":
			if rules.alternate && role == last {
				return fmt.Errorf("message %d: %s after %s", i, role, last)
			}
			last = role
			open = calls
		case "tool":
			id, _ := m["tool_call_id"].(string)
			at := slices.Index(open, id)
			if rules.answers && at < 0 {
				return fmt.Errorf("message %d: nobody asked for %q", i, id)
			}
			if at >= 0 {
				open = slices.Delete(open, at, at+1)
			}
			last = role
		default:
			return fmt.Errorf("message %d: role %q", i, role)
		}
		if err := chatContent(m["content"], rules.text, len(calls) > 0); err != nil {
			return fmt.Errorf("message %d: %w", i, err)
		}
	}
	return nil
}

func chatCalls(m map[string]any) (ids []string, err error) {
	list, _ := m["tool_calls"].([]any)
	for _, c := range list {
		call, _ := c.(map[string]any)
		id, ok := call["id"].(string)
		if !ok || m["role"] != "assistant" {
			return nil, errors.New("a call without an id, or by nobody")
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// chatContent checks a content: strict, no text in it may be blank; optional,
// there may be none.
func chatContent(content any, strict, optional bool) error {
	switch c := content.(type) {
	case nil:
		if !optional {
			return errors.New("no content")
		}
	case string:
		if strict && strings.TrimSpace(c) == "" {
			return errors.New("blank content")
		}
	case []any:
		if strict && len(c) == 0 {
			return errors.New("empty content")
		}
		for _, b := range c {
			block, _ := b.(map[string]any)
			switch block["type"] {
			case "text":
				text, ok := block["text"].(string)
				if !ok || strict && strings.TrimSpace(text) == "" {
					return errors.New("text content blocks must be non-empty")
				}
			case "image_url":
			default:
				return fmt.Errorf("a block of type %v", block["type"])
			}
		}
	default:
		return errors.New("content of another kind")
	}
	return nil
}

func validateAnthropic(body []byte) error {
	var req struct {
		System   any
		Messages []map[string]any
	}
	if err := json.Unmarshal(body, &req); err != nil {
		return err
	}
	if blocks, ok := req.System.([]any); ok {
		for _, b := range blocks {
			if block, _ := b.(map[string]any); blankString(block["text"]) {
				return errors.New("system: text content blocks must be non-empty")
			}
		}
	}
	if len(req.Messages) == 0 || req.Messages[0]["role"] != "user" {
		return errors.New("the first message must be the user's")
	}
	var open []string
	for i, m := range req.Messages {
		if m["role"] != "user" && m["role"] != "assistant" {
			return fmt.Errorf("message %d: role %v", i, m["role"])
		}
		blocks, _ := m["content"].([]any)
		if len(blocks) == 0 && blankString(m["content"]) {
			return fmt.Errorf("message %d: no content", i)
		}
		asked, err := anthropicBlocks(m["role"] == "user", blocks, open)
		if err != nil {
			return fmt.Errorf("message %d: %w", i, err)
		}
		open = asked
	}
	return nil
}

func blankString(v any) bool {
	s, _ := v.(string)
	return strings.TrimSpace(s) == ""
}

// anthropicBlocks checks the blocks of a message, which has to answer the calls
// in open first, and returns the calls that it makes.
func anthropicBlocks(user bool, blocks []any, open []string) (asked []string, err error) {
	for i, b := range blocks {
		block, _ := b.(map[string]any)
		switch block["type"] {
		case "text":
			if blankString(block["text"]) {
				return nil, errors.New("text content blocks must be non-empty")
			}
		case "tool_use":
			id, ok := block["id"].(string)
			if !ok || user {
				return nil, errors.New("tool_use without an id, or by the user")
			}
			asked = append(asked, id)
		case "tool_result":
			id, _ := block["tool_use_id"].(string)
			at := slices.Index(open, id)
			if at < 0 || !user {
				return nil, fmt.Errorf("block %d: unexpected tool_use_id %q", i, id)
			}
			open = slices.Delete(slices.Clone(open), at, at+1)
			list, _ := block["content"].([]any)
			for _, in := range list {
				if inner, _ := in.(map[string]any); inner["type"] == "text" && blankString(inner["text"]) {
					return nil, errors.New("text content blocks must be non-empty")
				}
			}
		case "image", "thinking":
		default:
			return nil, fmt.Errorf("a block of type %v", block["type"])
		}
	}
	if len(open) > 0 {
		return nil, fmt.Errorf("tool_use ids without tool_result: %v", open)
	}
	return asked, nil
}

// checkGeminiSchema refuses what Gemini doesn't know, and a required property that
// isn't there.
func checkGeminiSchema(schema map[string]any) error {
	for key, v := range schema {
		switch key {
		case "type", "title", "description", "format", "enum", "nullable", "default", "example":
		case "minimum", "maximum":
			if schema["type"] == "integer" {
				return fmt.Errorf("%s of an integer", key)
			}
		case "required":
			props, _ := schema["properties"].(map[string]any)
			names, _ := v.([]any)
			for _, name := range names {
				if _, ok := props[fmt.Sprint(name)]; !ok {
					return fmt.Errorf("required property %v isn't there", name)
				}
			}
		case "items", "anyOf", "properties":
			if err := checkSubschemas(key, v); err != nil {
				return err
			}
		default:
			return fmt.Errorf("unknown name %q", key)
		}
	}
	return nil
}

// checkSubschemas checks the schemas under one of the keywords that hold some.
func checkSubschemas(key string, v any) error {
	var subs []any
	switch v := v.(type) {
	case []any: // anyOf
		subs = v
	case map[string]any:
		subs = []any{v}
		if key == "properties" {
			subs = slices.Collect(maps.Values(v))
		}
	}
	for _, s := range subs {
		if sub, ok := s.(map[string]any); ok {
			if err := checkGeminiSchema(sub); err != nil {
				return err
			}
		}
	}
	return nil
}
