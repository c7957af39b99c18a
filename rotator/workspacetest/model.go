package workspacetest

import (
	"encoding/json"
	"net/http"
	"path"
	"regexp"
	"slices"
	"strings"
)

// ModelCall is a request to a model endpoint.
type ModelCall struct {
	Tools   []string // the names of the tools offered
	Results int      // tool results in the conversation so far
	Body    []byte   // decoded
}

// ToolCall is a call that a model makes.
type ToolCall struct {
	ID        string // "" is one that is new to the conversation
	Name      string
	Arguments string // a JSON object
}

// ModelReply is what a model answers: Text, then Calls; or else Raw, an event
// stream in pieces that are sent as they are.
type ModelReply struct {
	Text  string
	Calls []ToolCall
	Raw   []string
}

// api is the form in which a model endpoint is asked.
type api string

const (
	chat        api = "chat" // as OpenAI's chat completions
	messages    api = "messages"
	countTokens api = "count"
	responses   api = "responses"
	gemini      api = "gemini"
)

// modelRoots are the paths under which model endpoints stand: of a workspace,
// and of a dedicated gateway host.
var modelRoots = []string{"/serving-endpoints/", "/ai-gateway/", "/mlflow/", "/anthropic/", "/openai/", "/gemini/"}

// modelAPI returns the form in which the path is asked, "" if it is no model
// endpoint.
func modelAPI(p string) api {
	if !slices.ContainsFunc(modelRoots, func(root string) bool { return strings.HasPrefix(p, root) }) {
		return ""
	}
	for suffix, api := range map[string]api{
		"/chat/completions":         chat,
		"/invocations":              chat,
		"/v1/messages":              messages,
		"/v1/messages/count_tokens": countTokens,
		"/responses":                responses,
		":generatecontent":          gemini,
		":streamgeneratecontent":    gemini,
	} {
		if strings.HasSuffix(p, suffix) {
			return api
		}
	}
	return ""
}

// answerModel answers for a model endpoint.
func (w *Workspace) answerModel(c *call) {
	if c.in.Method != http.MethodPost {
		writeError(c, http.StatusMethodNotAllowed, "BAD_REQUEST", "Method "+c.in.Method+" is not allowed")
		return
	}
	var q question
	if err := json.Unmarshal(c.body, &q); err != nil {
		writeError(c, http.StatusBadRequest, "BAD_REQUEST", "Bad request: json: "+err.Error())
		return
	}
	q.api = modelAPI(c.path)
	folder, last := path.Split(path.Clean(c.in.URL.Path))
	switch {
	case q.api == gemini:
		var method string
		q.Model, method, _ = strings.Cut(last, ":")
		q.Stream = strings.EqualFold(method, "streamGenerateContent")
	case last == "invocations" && q.Model == "":
		q.Model = path.Base(folder)
	}
	reply := ModelReply{Text: words(w.cfg.Events)}
	if w.cfg.Model != nil {
		reply = w.cfg.Model(ModelCall{Tools: q.tools(), Results: len(toolResult.FindAll(c.body, -1)), Body: c.body})
	}
	w.speak(c, q, reply)
}

// question is what all forms have in common.
type question struct {
	api     api
	Model   string `json:"model"`
	Stream  bool   `json:"stream"`
	Options struct {
		Usage bool `json:"include_usage"`
	} `json:"stream_options"`
	Tools []struct {
		named
		Function     named   `json:"function"`
		Declarations []named `json:"functionDeclarations"`
	} `json:"tools"`
}

type named struct {
	Name string `json:"name"`
}

func (q question) tools() (names []string) {
	for _, t := range q.Tools {
		for _, n := range append(t.Declarations, t.named, t.Function) {
			if n.Name != "" {
				names = append(names, n.Name)
			}
		}
	}
	return names
}

// toolResult finds the tool results in a conversation of any form. In a string
// of a JSON text the quotes around them would be escaped.
var toolResult = regexp.MustCompile(`"(?:role"\s*:\s*"tool|type"\s*:\s*"(?:tool_result|function_call_output)|functionResponse)"`)

// words returns what a model says that nobody scripted, in so many pieces.
func words(n int) string {
	sentence := []string{"Hello", " from", " a", " workspace", " in", " memory."}
	return strings.Join(slices.Repeat(sentence, n/len(sentence)+1)[:n], "")
}
