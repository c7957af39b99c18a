package filter

// wrapperName is the name that Databricks gives to a tool call whose real name is
// among its arguments.
const wrapperName = "databricks-tool-call"

// unwrapCall records the edits that give a whole tool call its real name.
func (r *response) unwrapCall(call int) {
	fn := r.get(call, "function")
	name, args := r.getString(fn, "name"), r.getString(fn, "arguments")
	if !r.equals(name, wrapperName) || args == 0 || !isValidString(r.inner(args)) {
		return
	}
	r.argsBuf = appendUnescaped(r.argsBuf[:0], r.inner(args))
	if realName, remaining, ok := r.extractName(r.argsBuf); ok {
		r.edits.replace(r.start(name), r.end(name), string(realName))
		r.edits.replace(r.start(args), r.end(args), string(appendQuoted(nil, remaining)))
	}
}

// extractName takes the name out of a call's arguments, which are one object and
// what follows it. It returns the name as a JSON string, in args' memory, and the
// other arguments. It isn't ok if they don't name one of the request's tools.
func (r *response) extractName(args []byte) (name, remaining []byte, ok bool) {
	d := &r.argsDoc
	if end := d.parsePrefix(args); end < 0 || !d.stringsValid() {
		return nil, nil, false
	}
	v := d.getString(root, "name")
	if v == 0 || !isValidString(d.inner(v)) || !r.tools.has(d.stringValue(v)) {
		return nil, nil, false
	}
	r.argsEdits.reset()
	r.argsEdits.dropMembers(d, root, func(_, m int) bool { return m == v })
	return d.raw(v), r.argsEdits.appendEdited(nil, args), true
}

// objectScanner finds the end of a JSON object in a text that comes in pieces. Each
// byte is read once.
type objectScanner struct {
	at       int // how many bytes it has read
	depth    int
	inString bool
	escaped  bool // the next byte is part of an escape
}

// scan reports whether the object at the start of text is complete, or something
// else is there. Each call's text is that of the call before and what has come since.
func (b *objectScanner) scan(text []byte) bool {
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
		}
		if b.depth <= 0 && c != ' ' && c != '\n' && c != '\t' && c != '\r' {
			return true
		}
	}
	return false
}
