package workspacetest

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// speak has the model answer.
func (w *Workspace) speak(c *call, r *http.Request, mc ModelCall, usage bool) {
	reply := talk(w.cfg.Events)
	if w.cfg.Model != nil {
		reply = w.cfg.Model(mc)
	}
	reply.Calls = slices.Clone(reply.Calls) // a script's, perhaps, and in use elsewhere
	for i := range reply.Calls {
		if reply.Calls[i].ID == "" {
			reply.Calls[i].ID = fmt.Sprintf("call_%d_%d", mc.Results, i)
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
	if !mc.Stream && reply.Raw == nil {
		writePlain(c, r, parts[0], w.cfg.Compress)
		return
	}
	c.Header().Set("Cache-Control", "no-cache")
	w.writeStream(c, r, max(reply.Status, http.StatusOK), parts)
}

func writePlain(c *call, r *http.Request, body string, compress bool) {
	out := []byte(body)
	if compress && accepts(r, "gzip") {
		var buf bytes.Buffer
		z := gzip.NewWriter(&buf)
		_, _ = z.Write(out)
		_ = z.Close()
		out = buf.Bytes()
		c.Header().Set("Content-Encoding", "gzip")
		c.Header().Set("Vary", "Accept-Encoding")
	}
	_, _ = c.Write(out)
}

// writeStream sends the parts one by one, each as soon as it is its time.
func (w *Workspace) writeStream(c *call, r *http.Request, status int, parts []string) {
	var z *gzip.Writer
	if w.cfg.Compress && accepts(r, "gzip") {
		c.Header().Set("Content-Encoding", "gzip")
		z = gzip.NewWriter(c)
		defer func() { _ = z.Close() }()
	}
	c.WriteHeader(status)
	for i, part := range parts {
		if i > 0 && !sleep(r.Context(), w.cfg.EventDelay) {
			return
		}
		var err error
		if z == nil {
			_, err = c.Write([]byte(part))
		} else if _, err = z.Write([]byte(part)); err == nil {
			err = z.Flush()
		}
		if err != nil {
			return
		}
		c.Flush()
	}
}

// accepts reports whether the client takes answers encoded so.
func accepts(r *http.Request, encoding string) bool {
	for _, v := range r.Header.Values("Accept-Encoding") {
		for part := range strings.SplitSeq(v, ",") {
			name, _, _ := strings.Cut(part, ";")
			if strings.TrimSpace(name) == encoding {
				return true
			}
		}
	}
	return false
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
