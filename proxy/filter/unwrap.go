package filter

// wrapperName is the name that Databricks gives to a tool call whose real name is
// among its arguments.
const wrapperName = "databricks-tool-call"

// unwrapCall records the edits that give a whole tool call its real name.
func (r *response) unwrapCall(call int) {
	fn := r.get(call, "function")
	if fn == 0 {
		return
	}
	name, args := r.getString(fn, "name"), r.getString(fn, "arguments")
	if name == 0 || args == 0 || !r.equals(name, wrapperName) || !isValidString(r.inner(args)) {
		return
	}
	r.argsBuf = appendUnescaped(r.argsBuf[:0], r.inner(args))
	var b objectScanner
	end := b.scan(r.argsBuf)
	if end <= 0 {
		return
	}
	realName, remaining, ok := r.extractName(r.argsBuf[:end])
	if !ok {
		return
	}
	remaining = append(remaining, r.argsBuf[end:]...)
	r.edits.replace(r.start(name), r.end(name), string(realName))
	r.edits.replace(r.start(args), r.end(args), string(appendQuoted(nil, remaining)))
}

// extractName takes the name out of a call's arguments, which are one object. It
// returns the name as a JSON string, in args' memory, and the other arguments. It
// isn't ok if they don't name one of the request's tools.
func (r *response) extractName(args []byte) (name, remaining []byte, ok bool) {
	if !r.argsDoc.parse(args) || !r.argsDoc.stringsValid() {
		return nil, nil, false
	}
	v := r.argsDoc.getString(0, "name")
	if v == 0 || !isValidString(r.argsDoc.inner(v)) || !r.tools.has(r.argsDoc.stringValue(v)) {
		return nil, nil, false
	}
	r.argsEdits.reset()
	r.argsEdits.dropMembers(&r.argsDoc, 0, func(_, m int) bool { return m == v })
	return r.argsDoc.raw(v), r.argsEdits.appendEdited(nil, args), true
}

// objectScanner finds the end of a JSON object in a text that comes in pieces. Each
// byte is read once.
type objectScanner struct {
	at       int // how many bytes it has read
	depth    int
	inString bool
	escaped  bool // the next byte is part of an escape
}

// scan returns where the object at the start of text ends: 0 if its end hasn't come
// yet, -1 if text starts with something else. Each call's text is that of the call
// before and what has come since.
func (b *objectScanner) scan(text []byte) int {
	for ; b.at < len(text); b.at++ {
		c := text[b.at]
		switch {
		case b.escaped:
			b.escaped = false
		case b.inString:
			b.escaped = c == '\\'
			b.inString = c != '"'
		case c == '"':
			b.inString = true
		case c == '{', c == '[':
			b.depth++
		case c == '}', c == ']':
			b.depth--
			if b.depth == 0 {
				b.at++
				return b.at
			}
		}
		if b.depth == 0 && c != ' ' && c != '\n' && c != '\t' && c != '\r' {
			return -1
		}
	}
	return 0
}
