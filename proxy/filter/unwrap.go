package filter

// wrapperName is the name under which Databricks sends a tool call whose real name
// is one of its arguments.
const wrapperName = "databricks-tool-call"

// unwrapCall gives a tool call that came whole its real name.
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
// returns the name as a JSON string and what is left of the arguments, or false
// if they don't name one of the request's tools. name shares args' memory.
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

// objectScanner finds the end of an object in text that comes in pieces, and looks at
// each byte once.
type objectScanner struct {
	at       int // how far it has looked
	depth    int
	inString bool
	escaped  bool // the next byte is part of an escape
}

// scan returns where the object ends that text, which has grown since the last
// call, starts with. It is 0 if that hasn't come yet, and -1 if text starts with
// something else.
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
