package workspacetest

import (
	"encoding/json"
	"fmt"
	"net/http"
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
	ID        string // "" is "call_1", "call_2", …
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
	mc, usage, err := parseModelCall(api, p, c)
	if err != nil {
		writeError(c, http.StatusBadRequest, "BAD_REQUEST", "Bad request: json: "+err.Error())
		return
	}
	w.speak(c, r, mc, usage)
}

// speak has the model answer.
func (w *Workspace) speak(c *call, r *http.Request, mc ModelCall, usage bool) {
	reply := talk(w.cfg.Events)
	if w.cfg.Model != nil {
		reply = w.cfg.Model(mc)
	}
	for i := range reply.Calls {
		if reply.Calls[i].ID == "" {
			reply.Calls[i].ID = fmt.Sprintf("call_%d", i+1)
		}
	}
	s := &speech{
		ModelReply: reply, id: randomHex(12), model: mc.Model, created: w.now().Unix(),
		pieces: split(reply.Text, w.cfg.Events), usage: usage, in: max(1, len(mc.Body)/4),
	}
	contentType := "application/json"
	if mc.Stream {
		contentType = "text/event-stream"
	}
	var parts []string
	switch {
	case reply.Raw != nil:
		parts = reply.Raw
		if reply.ContentType != "" {
			contentType = reply.ContentType
		}
	case mc.API == Gemini && mc.Stream && r.URL.Query().Get("alt") != "sse":
		contentType, parts = "application/json", s.geminiArray()
	case mc.Stream:
		parts = s.stream(mc.API)
	default:
		parts = []string{s.plain(mc)}
	}
	c.Header().Set("Content-Type", contentType)
	c.WriteHeader(max(reply.Status, http.StatusOK))
	for i, part := range parts {
		if i > 0 && !sleep(r.Context(), w.cfg.EventDelay) {
			return
		}
		if _, err := c.Write([]byte(part)); err != nil {
			return
		}
		if mc.Stream || reply.Raw != nil {
			c.Flush()
		}
	}
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
		mc.Model, mc.Stream = model, method == "streamgeneratecontent"
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

// split cuts text into at most n pieces of about the same length, between
// characters.
func split(text string, n int) []string {
	runes := []rune(text)
	var pieces []string
	for n = min(n, len(runes)); n > 0; n-- {
		size := len(runes) / n
		pieces = append(pieces, string(runes[:size]))
		runes = runes[size:]
	}
	return pieces
}

// speech is a reply on its way into one of the forms.
type speech struct {
	ModelReply
	id      string
	model   string
	created int64
	pieces  []string
	usage   bool // in a chat stream
	in      int  // tokens of the request, roughly
}

func (s *speech) out() int { return len(s.pieces) + 10*len(s.Calls) }

// stream returns the events of a streamed answer.
func (s *speech) stream(api API) []string {
	switch api {
	case Messages:
		return s.messagesStream()
	case Responses:
		return s.responsesStream()
	case Gemini:
		return s.geminiStream()
	case Completions:
		return s.completionsStream()
	default:
		return s.chatStream()
	}
}

// plain returns the body of an answer in one piece.
func (s *speech) plain(mc ModelCall) string {
	switch mc.API {
	case Messages:
		return s.messagesPlain()
	case CountTokens:
		return fmt.Sprintf(`{"input_tokens":%d}`, s.in)
	case Responses:
		return s.responsesPlain()
	case Gemini:
		return s.geminiChunk(s.Text, s.Calls, "STOP")
	case Embeddings:
		return s.embeddings(mc.Body)
	case Completions:
		return s.completionsPlain()
	default:
		return s.chatPlain()
	}
}

// q quotes a string as JSON does.
func q(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		return `""`
	}
	return string(b)
}

// events writes Server-Sent Events with names.
func event(name, data string) string { return "event: " + name + "\ndata: " + data + "\n\n" }

// data writes one without a name.
func data(data string) string { return "data: " + data + "\n\n" }
