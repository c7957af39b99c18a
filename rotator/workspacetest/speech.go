package workspacetest

import (
	"fmt"
	"net/http"
	"slices"
)

// speak has the model answer.
func (w *Workspace) speak(c *call, q question, reply ModelReply) {
	s := &speech{
		ModelReply: reply, id: randomHex(12), model: q.Model, created: w.now().Unix(),
		pieces: split(reply.Text, w.cfg.Events), usage: q.Options.Usage, in: max(1, len(c.body)/4),
	}
	s.Calls = slices.Clone(reply.Calls) // a script's, perhaps, and in use elsewhere
	for i := range s.Calls {
		if s.Calls[i].ID == "" {
			s.Calls[i].ID = fmt.Sprintf("call_%s_%d", s.id, i)
		}
	}
	switch {
	case reply.Raw != nil:
		w.writeStream(c, reply.Raw)
	case q.Stream:
		w.writeStream(c, s.stream(q.api))
	default:
		writeJSON(c, http.StatusOK, s.plain(q.api))
	}
}

// writeStream sends the events one by one, each as soon as it is its time.
func (w *Workspace) writeStream(c *call, events []string) {
	c.Header().Set("Content-Type", "text/event-stream")
	c.Header().Set("Cache-Control", "no-cache")
	c.WriteHeader(http.StatusOK)
	for i, e := range events {
		if i > 0 && !sleep(c.in.Context(), w.cfg.EventDelay) {
			return
		}
		if _, err := c.Write([]byte(e)); err != nil {
			return
		}
		c.Flush()
	}
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

// finish returns why the model stops, in the words of one form.
func (s *speech) finish(atEnd, forTools string) string {
	if len(s.Calls) > 0 {
		return forTools
	}
	return atEnd
}

// hasText reports whether text is a part of the answer, be it empty.
func (s *speech) hasText() bool { return s.Text != "" || len(s.Calls) == 0 }

// stream returns the events of a streamed answer.
func (s *speech) stream(form api) []string {
	switch form {
	case messages:
		return s.messageEvents()
	case responses:
		return s.responseEvents()
	case gemini:
		return s.geminiEvents()
	default:
		return s.chatEvents()
	}
}

// plain returns an answer in one piece.
func (s *speech) plain(form api) object {
	switch form {
	case messages:
		return s.message()
	case countTokens:
		return object{"input_tokens": s.in}
	case responses:
		return s.response("completed", s.output())
	case gemini:
		return s.geminiChunk(s.pieces, s.Calls, "STOP")
	default:
		return s.chat()
	}
}

// object is a JSON object.
type object map[string]any

// data is a Server-Sent Event without a name, and event one that is named by
// its type.
func data(o object) string { return "data: " + toJSON(o) + "\n\n" }

func event(o object) string { return fmt.Sprintf("event: %s\n%s", o["type"], data(o)) }
