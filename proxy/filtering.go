package proxy

import (
	"net/http"
	"strings"

	"patrol/proxy/filter"
)

// filterRequest mends the request's body and header, if the filter is for such
// requests, and readies the filter of its answer. A body that isn't whole
// passes as it is.
func (e *exchange) filterRequest(out *http.Request) {
	if !e.proxy.filter || out.Method != http.MethodPost || !e.body.whole || e.body.size == 0 {
		return
	}
	kind, model := filtered(e.route.api, out.URL.Path)
	if kind == 0 {
		return
	}
	var mended []byte
	mended, e.call = filter.Request(kind, model, out.Header, e.body.data, e.proxy.memory.reuse)
	e.call.Accept(out.Header)
	if len(mended) > 0 && &mended[0] != &e.body.data[0] {
		e.body.replace(mended)
	}
}

// filterAnswer mends the answer.
func (e *exchange) filterAnswer(res *http.Response) error {
	e.call.Response(res)
	e.answering = true
	return nil
}

// filtered returns as what the filter knows a request, 0 if it doesn't, and
// the model if the path names it.
func filtered(of api, path string) (kind filter.API, model string) {
	switch of {
	case chat:
		return filter.ChatCompletions, ""
	case messages, countTokens:
		return filter.AnthropicMessages, ""
	case gemini:
		_, name, _ := strings.Cut(path, "/models/")
		model, method, ok := strings.Cut(name, ":")
		if ok && (method == "generateContent" || method == "streamGenerateContent") {
			return filter.GeminiGenerate, model
		}
	}
	return 0, ""
}
