package filter

// wrapper is the name under which Databricks sends a tool call whose real name
// is one of its arguments.
const wrapper = "databricks-tool-call"

// rename gives a tool call that came whole its real name.
func (a *answer) rename(call int) {
	fn := a.get(call, "function")
	if fn == 0 {
		return
	}
	name, args := a.getString(fn, "name"), a.getString(fn, "arguments")
	if name == 0 || args == 0 || !a.is(name, wrapper) || !validString(a.inner(args)) {
		return
	}
	a.args = appendUnescaped(a.args[:0], a.inner(args))
	var b balance
	end := b.find(a.args)
	if end <= 0 {
		return
	}
	realName, rest, ok := a.unwrap(a.args[:end])
	if !ok {
		return
	}
	rest = append(rest, a.args[end:]...)
	a.edits.replace(a.start(name), a.end(name), string(realName))
	a.edits.replace(a.start(args), a.end(args), string(appendQuoted(nil, rest)))
}

// unwrap takes the name out of a call's arguments, which are one object. It
// returns the name as a JSON string and what is left of the arguments, or false
// if they don't name one of the request's tools. name shares args' memory.
func (a *answer) unwrap(args []byte) (name, rest []byte, ok bool) {
	if !a.object.parse(args) || !a.object.valid() {
		return nil, nil, false
	}
	v := a.object.getString(0, "name")
	if v == 0 || !validString(a.object.inner(v)) || !a.tools.has(a.object.text(v)) {
		return nil, nil, false
	}
	a.removal.reset()
	p := pruner{e: &a.removal}
	for k, m := range a.object.members(0) {
		if m == v {
			p.drop(a.object.start(k), a.object.end(m))
		} else {
			p.keep(a.object.start(k), a.object.end(m))
		}
	}
	p.finish()
	return a.object.raw(v), a.removal.appendTo(nil, args), true
}

// balance finds the end of an object in text that comes in pieces, and looks at
// each byte once.
type balance struct {
	at       int // how far it has looked
	depth    int
	inString bool
	escaped  bool // the next byte is part of an escape
}

// find returns where the object ends that text, which has grown since the last
// call, starts with. It is 0 if that hasn't come yet, and -1 if text starts with
// something else.
func (b *balance) find(text []byte) int {
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
