package workspacetest_test

import (
	"bufio"
	"encoding/json"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"patrol/rotator/workspacetest"
)

// sse is one Server-Sent Event.
type sse struct{ name, data string }

// stream asks for a stream and returns its events.
func stream(t *testing.T, c *http.Client, url, bearer, body string) []sse {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+bearer)
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if ct := resp.Header.Get("Content-Type"); resp.StatusCode != 200 || ct != "text/event-stream" {
		t.Fatalf("%s: %d, %s", url, resp.StatusCode, ct)
	}
	var events []sse
	var e sse
	sc := bufio.NewScanner(resp.Body)
	for sc.Scan() {
		name, value, _ := strings.Cut(sc.Text(), ": ")
		switch name {
		case "event":
			e.name = value
		case "data":
			e.data = value
		case "":
			events = append(events, e)
			e = sse{}
		default:
			t.Fatalf("a line %q", sc.Text())
		}
	}
	if err := sc.Err(); err != nil {
		t.Fatal(err)
	}
	return events
}

func decode[T any](t *testing.T, data string) T {
	t.Helper()
	var v T
	if err := json.Unmarshal([]byte(data), &v); err != nil {
		t.Fatalf("%v in %s", err, data)
	}
	return v
}

var (
	text  = "Héllo — \"wörld\"\n\u2028\t🙂"
	calls = []workspacetest.ToolCall{
		{ID: "a", Name: "read", Arguments: `{"path":"/tmp/ü \"x\""}`},
		{ID: "b", Name: "list", Arguments: `{}`},
	}
	replies = map[string]workspacetest.ModelReply{
		"text":           {Text: text},
		"calls":          {Calls: calls},
		"text and calls": {Text: text, Calls: calls},
		"nothing":        {},
	}
)

// chat is a chat completion, or a chunk of one.
type chat struct {
	Choices []struct {
		Message, Delta struct {
			Content *string
			Calls   []struct {
				Index    int
				ID       string
				Function struct{ Name, Arguments string }
			} `json:"tool_calls"`
		}
		Finish *string `json:"finish_reason"`
	}
	Usage *struct {
		Total int `json:"total_tokens"`
	}
}

func TestChat(t *testing.T) {
	for name, reply := range replies {
		t.Run(name, func(t *testing.T) {
			w, c := scripted(reply)
			tok := w.Issue(workspacetest.IssueOptions{}).Value
			const url = "https://w.example/serving-endpoints/chat/completions"
			finish := "stop"
			if reply.Calls != nil {
				finish = "tool_calls"
			}

			_, body := ask(t, c, "POST", url, tok, `{"model":"m"}`)
			plain := decode[chat](t, body).Choices[0]
			var made []workspacetest.ToolCall
			for _, call := range plain.Message.Calls {
				made = append(made, workspacetest.ToolCall{ID: call.ID, Name: call.Function.Name, Arguments: call.Function.Arguments})
			}
			if plain.Message.Content != nil && *plain.Message.Content != reply.Text || *plain.Finish != finish || !reflect.DeepEqual(made, reply.Calls) {
				t.Errorf("plain: %s", body)
			}

			events := stream(t, c, url, tok, `{"model":"m","stream":true,"stream_options":{"include_usage":true}}`)
			if last := events[len(events)-1]; last.data != "[DONE]" {
				t.Errorf("the last event is %v", last)
			}
			var got strings.Builder
			made, ended, usage := nil, "", 0
			for _, e := range events[:len(events)-1] {
				chunk := decode[chat](t, e.data)
				if chunk.Usage != nil {
					usage++
					continue
				}
				choice := chunk.Choices[0]
				if choice.Delta.Content != nil {
					got.WriteString(*choice.Delta.Content)
				}
				for _, call := range choice.Delta.Calls {
					if call.ID != "" {
						made = append(made, workspacetest.ToolCall{ID: call.ID, Name: call.Function.Name})
					}
					made[call.Index].Arguments += call.Function.Arguments
				}
				if choice.Finish != nil {
					ended = *choice.Finish
				}
			}
			if got.String() != reply.Text || ended != finish || !reflect.DeepEqual(made, reply.Calls) || usage != 1 {
				t.Errorf("streamed %q, %v, %q, usage %d times", got.String(), made, ended, usage)
			}
			if n := len(stream(t, c, url, tok, `{"model":"m","stream":true}`)); n != len(events)-1 {
				t.Errorf("%d events without usage, %d with it", n, len(events))
			}
		})
	}
}

func scripted(reply workspacetest.ModelReply) (*workspacetest.Workspace, *http.Client) {
	w := workspacetest.New(workspacetest.Config{Model: func(workspacetest.ModelCall) workspacetest.ModelReply { return reply }})
	return w, &http.Client{Transport: w.Transport()}
}

// block is a content block of an Anthropic message, or a delta of one.
type block struct {
	Type, Text, ID, Name string
	Input                json.RawMessage
	Partial              string `json:"partial_json"`
	Stop                 string `json:"stop_reason"`
}

func TestMessages(t *testing.T) {
	for name, reply := range replies {
		t.Run(name, func(t *testing.T) {
			w, c := scripted(reply)
			tok := w.Issue(workspacetest.IssueOptions{}).Value
			const url = "https://w.example/serving-endpoints/anthropic/v1/messages?beta=true"
			want, stop := reply.Calls, "end_turn"
			if want != nil {
				stop = "tool_use"
			}
			read := func(blocks []block) (text string, made []workspacetest.ToolCall) {
				for _, b := range blocks {
					text += b.Text
					if b.Type == "tool_use" {
						made = append(made, workspacetest.ToolCall{ID: b.ID, Name: b.Name, Arguments: string(b.Input)})
					}
				}
				return text, made
			}

			_, body := ask(t, c, "POST", url, tok, `{"model":"m"}`)
			plain := decode[struct {
				Content []block
				Stop    string `json:"stop_reason"`
			}](t, body)
			if got, made := read(plain.Content); got != reply.Text || !reflect.DeepEqual(made, want) || plain.Stop != stop {
				t.Errorf("plain: %s", body)
			}

			var blocks []block
			names, ended := "", ""
			for _, e := range stream(t, c, url, tok, `{"model":"m","stream":true}`) {
				ev := decode[struct {
					Type    string
					Index   int
					Content block `json:"content_block"`
					Delta   block
				}](t, e.data)
				if ev.Type != e.name {
					t.Errorf("event %s has type %s", e.name, ev.Type)
				}
				switch ev.Type {
				case "content_block_start":
					ev.Content.Input = nil
					blocks = append(blocks, ev.Content)
				case "content_block_delta":
					blocks[ev.Index].Text += ev.Delta.Text
					blocks[ev.Index].Input = append(blocks[ev.Index].Input, ev.Delta.Partial...)
				case "message_delta":
					ended = ev.Delta.Stop
				}
				names += " " + ev.Type
			}
			if got, made := read(blocks); got != reply.Text || !reflect.DeepEqual(made, want) || ended != stop {
				t.Errorf("streamed %q, %v, %q", got, made, ended)
			}
			if !strings.HasPrefix(names, " message_start content_block_start ping ") || !strings.HasSuffix(names, " content_block_stop message_delta message_stop") {
				t.Errorf("events:%s", names)
			}
		})
	}
}

func TestResponses(t *testing.T) {
	type item struct {
		Type, Name, Arguments string
		CallID                string `json:"call_id"`
		Content               []struct{ Text string }
	}
	type response struct {
		Status string
		Output []item
	}
	for name, reply := range replies {
		t.Run(name, func(t *testing.T) {
			w, c := scripted(reply)
			tok := w.Issue(workspacetest.IssueOptions{}).Value
			const url = "https://w.example/serving-endpoints/responses"
			read := func(r response) (text string, made []workspacetest.ToolCall) {
				for _, i := range r.Output {
					for _, part := range i.Content {
						text += part.Text
					}
					if i.Type == "function_call" {
						made = append(made, workspacetest.ToolCall{ID: i.CallID, Name: i.Name, Arguments: i.Arguments})
					}
				}
				return text, made
			}
			_, body := ask(t, c, "POST", url, tok, `{"model":"m"}`)
			if got, made := read(decode[response](t, body)); got != reply.Text || !reflect.DeepEqual(made, reply.Calls) {
				t.Errorf("plain: %s", body)
			}
			var deltas, arguments string
			var last response
			events := stream(t, c, url, tok, `{"model":"m","stream":true}`)
			for i, e := range events {
				ev := decode[struct {
					Type     string
					Sequence int `json:"sequence_number"`
					Delta    string
					Response response
				}](t, e.data)
				if ev.Type != e.name || ev.Sequence != i {
					t.Errorf("event %d is %s", i, e.data)
				}
				switch ev.Type {
				case "response.output_text.delta":
					deltas += ev.Delta
				case "response.function_call_arguments.delta":
					arguments += ev.Delta
				case "response.completed":
					last = ev.Response
				}
			}
			var wantArguments strings.Builder
			for _, call := range reply.Calls {
				wantArguments.WriteString(call.Arguments)
			}
			got, made := read(last)
			if got != reply.Text || deltas != reply.Text || arguments != wantArguments.String() || !reflect.DeepEqual(made, reply.Calls) || last.Status != "completed" {
				t.Errorf("streamed %q, %q, %q, %v", got, deltas, arguments, made)
			}
			if events[0].name != "response.created" || events[len(events)-1].name != "response.completed" {
				t.Errorf("from %s to %s", events[0].name, events[len(events)-1].name)
			}
		})
	}
}

func TestGemini(t *testing.T) {
	type chunk struct {
		Candidates []struct {
			Content struct {
				Parts []struct {
					Text string
					Call *struct{ Name string } `json:"functionCall"`
				}
			}
			Finish string `json:"finishReason"`
		}
		Model string `json:"modelVersion"`
	}
	read := func(chunks ...chunk) string {
		var all strings.Builder
		for _, c := range chunks {
			for _, p := range c.Candidates[0].Content.Parts {
				all.WriteString(p.Text)
				if p.Call != nil {
					all.WriteString("(" + p.Call.Name + ")")
				}
			}
			all.WriteString(c.Candidates[0].Finish)
		}
		return all.String()
	}
	w, c := scripted(workspacetest.ModelReply{Text: text, Calls: calls})
	tok := w.Issue(workspacetest.IssueOptions{}).Value
	const url = "https://w.example/serving-endpoints/google/v1beta/models/Gemini-X:"
	want := text + "(read)(list)STOP"
	_, body := ask(t, c, "POST", url+"generateContent", tok, `{}`)
	if got := decode[chunk](t, body); read(got) != want || got.Model != "Gemini-X" {
		t.Errorf("plain: %s", body)
	}
	var chunks []chunk
	for _, e := range stream(t, c, url+"streamGenerateContent?alt=sse", tok, `{}`) {
		chunks = append(chunks, decode[chunk](t, e.data))
	}
	if len(chunks) < 4 || read(chunks...) != want {
		t.Errorf("streamed: %v", chunks)
	}
}
