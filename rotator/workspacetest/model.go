package workspacetest

import (
	"encoding/json"
	"net/http"
	"path"
	"strings"
)

// API is the form in which a model endpoint is asked.
type API string

// The forms.
const (
	Chat        API = "chat"        // …/chat/completions, …/NAME/invocations
	Completions API = "completions" // …/completions
	Messages    API = "messages"    // …/v1/messages (Anthropic)
	CountTokens API = "count"       // …/v1/messages/count_tokens
	Responses   API = "responses"   // …/responses (OpenAI)
	Gemini      API = "gemini"      // …/models/M:generateContent, :streamGenerateContent
	Embeddings  API = "embeddings"  // …/embeddings
	models      API = "models"      // …/models: Databricks has none
)

// ModelCall is a request to a model endpoint.
type ModelCall struct {
	API     API
	Model   string
	Stream  bool
	User    string   // whose token asks
	Tools   []string // the names of the tools offered
	Results int      // tool results in the conversation so far
	Body    []byte   // decoded
}

// ToolCall is a call that a model makes.
type ToolCall struct {
	ID        string // "" is one that is new to the conversation
	Name      string
	Arguments string // JSON
}

// ModelReply is what a model answers: Text, then Calls; or Raw instead.
type ModelReply struct {
	Text   string
	Calls  []ToolCall
	Status int // 0 is 200; any other needs Raw, the body

	// Raw is sent as it is, each element flushed, with this Content-Type (""
	// is an event stream if the call streams, else JSON).
	Raw         []string
	ContentType string
}

// Script returns a model that plays turns: each call gets the one whose turn it
// is by the tool results in its conversation, so that a call that is repeated is
// answered alike. The last turn answers all that come later. A call that offers
// no tools, as agents make for titles, is none of the turns.
func Script(turns ...ModelReply) func(ModelCall) ModelReply {
	return func(c ModelCall) ModelReply {
		if len(c.Tools) == 0 || len(turns) == 0 {
			return talk(len(sentence))
		}
		answered := 0
		for _, turn := range turns[:len(turns)-1] {
			answered += len(turn.Calls)
			if c.Results < answered {
				return turn
			}
		}
		return turns[len(turns)-1]
	}
}

// sentence is what a model says that nobody scripted.
var sentence = [...]string{"Hello", " from", " a", " workspace", " in", " memory."}

// talk is the default model: n pieces of text.
func talk(n int) ModelReply {
	var b strings.Builder
	for i := range n {
		b.WriteString(sentence[i%len(sentence)])
	}
	return ModelReply{Text: b.String()}
}

// modelRoots are the paths under which model endpoints stand: of a workspace,
// and of a dedicated gateway host.
var modelRoots = [...]string{"/serving-endpoints/", "/ai-gateway/", "/mlflow/", "/anthropic/", "/openai/", "/gemini/"}

func isModelPath(p string) bool {
	for _, root := range modelRoots {
		if strings.HasPrefix(p, root) {
			return modelAPI(p) != ""
		}
	}
	return false
}

// modelAPI returns the form in which the path is asked, "" if it is no model
// endpoint.
func modelAPI(p string) API {
	for _, s := range [...]struct {
		suffix string
		api    API
	}{
		{"/chat/completions", Chat},
		{"/invocations", Chat},
		{"/completions", Completions},
		{"/v1/messages", Messages},
		{"/v1/messages/count_tokens", CountTokens},
		{"/responses", Responses},
		{"/embeddings", Embeddings},
		{"/models", models},
		{":generatecontent", Gemini},
		{":streamgeneratecontent", Gemini},
	} {
		if strings.HasSuffix(p, s.suffix) {
			return s.api
		}
	}
	return ""
}

// answerModel answers for a model endpoint.
func (w *Workspace) answerModel(c *call, r *http.Request, p string) {
	w.mu.Lock()
	c.req.Body = c.body
	young := c.token != nil && w.now().Before(c.token.Created.Add(w.cfg.Propagation))
	w.mu.Unlock()
	api := modelAPI(p)
	switch {
	case young:
		w.refuse(c)
		return
	case api == models:
		writeError(c, http.StatusNotFound, "ENDPOINT_NOT_FOUND", "No API found for '"+r.Method+" "+p+"'")
		return
	case r.Method != http.MethodPost:
		writeError(c, http.StatusMethodNotAllowed, "BAD_REQUEST", "Method "+r.Method+" is not allowed")
		return
	}
	mc, usage, err := parseModelCall(api, path.Clean(r.URL.Path), c)
	if err != nil {
		writeError(c, http.StatusBadRequest, "BAD_REQUEST", "Bad request: json: "+err.Error())
		return
	}
	w.speak(c, r, mc, usage)
}

// parseModelCall reads what all forms have in common.
func parseModelCall(api API, p string, c *call) (mc ModelCall, usage bool, err error) {
	var in struct {
		Model   string `json:"model"`
		Stream  bool   `json:"stream"`
		Options struct {
			Usage bool `json:"include_usage"`
		} `json:"stream_options"`
		Tools []struct {
			Name     string `json:"name"`
			Function struct {
				Name string `json:"name"`
			} `json:"function"`
			Declarations []struct {
				Name string `json:"name"`
			} `json:"functionDeclarations"`
		} `json:"tools"`
	}
	if err := json.Unmarshal(c.body, &in); err != nil {
		return ModelCall{}, false, err
	}
	mc = ModelCall{API: api, Model: in.Model, Stream: in.Stream, User: c.user, Body: c.body, Results: results(c.body)}
	for _, t := range in.Tools {
		for _, name := range []string{t.Name, t.Function.Name} {
			if name != "" {
				mc.Tools = append(mc.Tools, name)
			}
		}
		for _, d := range t.Declarations {
			mc.Tools = append(mc.Tools, d.Name)
		}
	}
	segments := strings.Split(p, "/")
	switch last := segments[len(segments)-1]; {
	case api == Gemini:
		model, method, _ := strings.Cut(last, ":")
		mc.Model, mc.Stream = model, strings.EqualFold(method, "streamGenerateContent")
	case last == "invocations" && mc.Model == "":
		mc.Model = segments[len(segments)-2]
	}
	return mc, in.Options.Usage, nil
}

// results counts the tool results in a conversation of any form.
func results(body []byte) int {
	type part struct {
		Type     string          `json:"type"`
		Response json.RawMessage `json:"functionResponse"`
	}
	var in struct {
		Messages []struct {
			Role    string          `json:"role"`
			Content json.RawMessage `json:"content"`
		} `json:"messages"`
		Input    json.RawMessage `json:"input"`
		Contents []struct {
			Parts []part `json:"parts"`
		} `json:"contents"`
	}
	if json.Unmarshal(body, &in) != nil {
		return 0
	}
	n := 0
	count := func(raw json.RawMessage) {
		var parts []part
		_ = json.Unmarshal(raw, &parts) // a string holds none
		for _, p := range parts {
			if p.Type == "tool_result" || p.Type == "function_call_output" {
				n++
			}
		}
	}
	for _, m := range in.Messages {
		if m.Role == "tool" {
			n++
		}
		count(m.Content)
	}
	count(in.Input)
	for _, m := range in.Contents {
		for _, p := range m.Parts {
			if p.Response != nil {
				n++
			}
		}
	}
	return n
}
