package filter

import (
	"slices"
	"strings"
)

// refMessages applies the rules for messages to what encoding/json makes of them,
// one after the other, until nothing changes, as they are written down. It has
// nothing in common with the filter but the rules. It returns nil if nothing
// would be left.
func refMessages(list []any) []any {
	for changed := true; changed; {
		list, changed = refOnce(list)
	}
	if len(list) == 0 {
		return nil
	}
	list = refInterrupted(list)
	for i, m := range list {
		list[i] = refFill(m)
	}
	return list
}

func refMessage(m any) (msg map[string]any, role string) {
	msg, _ = m.(map[string]any)
	role, _ = msg["role"].(string)
	switch content := msg["content"].(type) {
	case nil, string:
	case []any:
		for _, b := range content {
			if _, ok := b.(map[string]any); !ok {
				return msg, ""
			}
		}
	default:
		return msg, ""
	}
	if role == "developer" {
		role = "system"
	}
	if !slices.Contains([]string{"system", "user", "assistant", "tool"}, role) {
		role = ""
	}
	return msg, role
}

func refBlankText(b any) bool {
	block, _ := b.(map[string]any)
	if block["type"] != "text" {
		return false
	}
	s, isString := block["text"].(string)
	return block["text"] == nil || isString && strings.TrimSpace(s) == ""
}

func refBlank(content any) bool {
	switch c := content.(type) {
	case nil:
		return true
	case string:
		return strings.TrimSpace(c) == ""
	case []any:
		return len(c) == 0
	}
	return false
}

// refIDs returns the ids of the calls of a message. sure is false if one has
// none.
func refIDs(m any) (ids []string, sure bool) {
	msg, role := refMessage(m)
	if role != "assistant" {
		return nil, true
	}
	sure = true
	add := func(v any) {
		id, ok := v.(string)
		ids = append(ids, id)
		sure = sure && ok
	}
	calls, _ := msg["tool_calls"].([]any)
	for _, c := range calls {
		call, _ := c.(map[string]any)
		add(call["id"])
	}
	blocks, _ := msg["content"].([]any)
	for _, b := range blocks {
		if block, _ := b.(map[string]any); block["type"] == "tool_use" {
			add(block["id"])
		}
	}
	return ids, sure
}

// refAsker returns what the assistant message before i asked for. sure is false
// if something stands between, or in the rest of the turn, that isn't
// understood.
func refAsker(list []any, i int) (ids []string, sure bool) {
	sure = true
	for end := i; end < len(list); end++ {
		_, role := refMessage(list[end])
		if role == "assistant" {
			break
		}
		sure = sure && role != ""
	}
	for i--; i >= 0; i-- {
		_, role := refMessage(list[i])
		if role == "assistant" {
			ids, known := refIDs(list[i])
			return ids, sure && known
		}
		sure = sure && role != ""
	}
	return nil, sure
}

// refOnce makes the first change that it finds.
func refOnce(list []any) (out []any, changed bool) {
	without := func(i int) []any { return slices.Delete(slices.Clone(list), i, i+1) }
	for i, m := range list {
		msg, role := refMessage(m)
		asked, sure := refAsker(list, i)
		orphan := func(v any) bool {
			id, ok := v.(string)
			return ok && sure && !slices.Contains(asked, id)
		}
		if role == "" {
			continue
		}
		if role == "tool" && orphan(msg["tool_call_id"]) || role == "system" && refBlank(msg["content"]) {
			return without(i), true
		}
		calls, _ := msg["tool_calls"].([]any)
		if role == "assistant" && i == len(list)-1 && refBlank(msg["content"]) && len(calls) == 0 {
			return without(i), true
		}
		blocks, _ := msg["content"].([]any)
		for k, b := range blocks {
			block := b.(map[string]any)
			if refBlankText(b) || role == "user" && block["type"] == "tool_result" && orphan(block["tool_use_id"]) {
				msg["content"] = slices.Delete(slices.Clone(blocks), k, k+1)
				return list, true
			}
			if inner, ok := block["content"].([]any); ok && block["type"] == "tool_result" {
				block["content"] = slices.DeleteFunc(slices.Clone(inner), refBlankText)
			}
		}
	}
	return list, false
}

// refInterrupted answers the calls that nobody answered.
func refInterrupted(list []any) []any {
	var out []any
	for i := range list {
		out = append(out, list[i])
		ids, sure := refIDs(list[i])
		if i == len(list)-1 || !sure {
			continue
		}
		answered := map[string]bool{}
		for _, m := range list[i+1:] {
			msg, role := refMessage(m)
			if role == "assistant" {
				break
			}
			sure = sure && role != ""
			note := func(v any) {
				id, ok := v.(string)
				answered[id] = true
				sure = sure && ok
			}
			if role == "tool" {
				note(msg["tool_call_id"])
			}
			blocks, _ := msg["content"].([]any)
			for _, b := range blocks {
				if block, _ := b.(map[string]any); role == "user" && block["type"] == "tool_result" {
					note(block["tool_use_id"])
				}
			}
		}
		if !sure {
			continue
		}
		ids = slices.DeleteFunc(ids, func(id string) bool { return answered[id] })
		msg, _ := refMessage(list[i])
		if calls, _ := msg["tool_calls"].([]any); len(calls) > 0 {
			for _, id := range ids {
				out = append(out, map[string]any{"role": "tool", "tool_call_id": id, "content": "(interrupted)"})
			}
			continue
		}
		var results []any
		for _, id := range ids {
			results = append(results, map[string]any{"type": "tool_result", "tool_use_id": id, "content": "(interrupted)"})
		}
		if len(results) == 0 {
			continue
		}
		next, role := refMessage(list[i+1])
		if role != "user" {
			out = append(out, map[string]any{"role": "user", "content": results})
			continue
		}
		if s, ok := next["content"].(string); ok && !refBlank(s) {
			results = append(results, map[string]any{"type": "text", "text": s})
		}
		blocks, _ := next["content"].([]any)
		next["content"] = append(results, blocks...)
	}
	return out
}

// refFill puts something where nothing is left.
func refFill(m any) any {
	msg, role := refMessage(m)
	if role == "" {
		return m
	}
	calls, _ := msg["tool_calls"].([]any)
	_, has := msg["content"]
	if refBlank(msg["content"]) {
		switch {
		case role == "tool":
			msg["content"] = "(no output)"
		case len(calls) == 0:
			msg["content"] = "."
		case has:
			msg["content"] = nil
		}
	}
	blocks, _ := msg["content"].([]any)
	for _, b := range blocks {
		block, _ := b.(map[string]any)
		if content, ok := block["content"]; ok && block["type"] == "tool_result" && refBlank(content) {
			block["content"] = "(no output)"
		}
	}
	return msg
}
