package credwriter

import "errors"

// claude is Claude Code's settings.json. What is ours to put into its
// env.ANTHROPIC_AUTH_TOKEN depends on env.ANTHROPIC_BASE_URL beside it: the token
// if that leads to this workspace or its gateway, the client key if it leads to our
// proxy; then it is also added where it is missing. Beside another base URL, or
// none, a value is sent to somebody else: there only a token of ours is replaced,
// where its user has put it. Nothing is replaced beside another profile's proxy,
// another address of this machine, or what isn't a URL to everybody.
type claude struct {
	owner  Owner
	create bool
}

// NewClaude returns Claude Code's settings at path. With create, a file or
// key that is missing is made, with our proxy as the base URL; without, a
// missing file is nothing to do.
func NewClaude(path string, create bool, o Owner) *File {
	return &File{name: "claude", path: path, owner: o, create: create, blank: emptyObject, format: claude{o, create}}
}

const (
	authVar = "ANTHROPIC_AUTH_TOKEN"
	keyVar  = "ANTHROPIC_API_KEY"
	baseVar = "ANTHROPIC_BASE_URL"
)

func (c claude) Set(text []byte, token string, _ func(hash string) bool) (Edit, error) {
	return setJSON(text, token, c.owner, c.set)
}

// Remove leaves a client key where it is: it opens nothing, and with it Claude
// Code goes on asking patrol, which says how to sign in again.
func (c claude) Remove(text []byte, gone func(hash string) bool) (Edit, error) {
	return removeJSON(text, gone, func(e *jsonEdit) error {
		for _, m := range e.root.members {
			if m.name != "env" {
				continue
			}
			e.remove(m.value, func(v member) bool { return v.name == authVar && e.isOurs(v.value) })
			if token, ok := m.value.last(authVar); ok && !e.isOurs(token) && !c.owner.isKey(token.str) {
				e.leave("env.%s isn't one that patrol made", authVar)
			}
		}
		return nil
	})
}

func (claude) Values(text []byte) ([]string, error) { return jsonValues(text) }

// set puts the token or the client key where ours stand, or belong.
func (c claude) set(e *jsonEdit) error {
	for _, m := range e.root.members {
		if m.name == "env" && m.value.kind != '{' {
			return errors.New("its env is no object: make it one, or delete it")
		}
	}
	env, _ := e.root.last("env")
	base, hasBase := env.last(baseVar)
	where := c.owner.leadsTo(baseVar, base, hasBase)
	p, _ := c.owner.placeOf(base.str)
	if hasBase && base.kind != '"' {
		p = unknownPlace // Claude Code makes a text of a list, too
	}
	switch token, hasToken := env.last(authVar); p {
	case atProxy:
		c.setKey(e, env)
	case atOtherProxy, unknownPlace:
		if hasToken {
			e.leaveValue(token, "env.%s: %s", authVar, where)
		} else if c.create && p != atOtherProxy {
			e.leave("env.%s is missing and wasn't added: %s", authVar, where)
		}
	default:
		c.setToken(e, env, p, where)
	}
	return nil
}

// setToken puts the token into an env whose base URL leads to this workspace or to
// another host. where says in words where it leads.
func (c claude) setToken(e *jsonEdit, env value, p place, where string) {
	c.renewAll(e, e.token, authVar)
	_, hasBase := env.last(baseVar)
	switch token, hasToken := env.last(authVar); {
	case e.isOurs(token):
	case hasToken && p == atWorkspace && token.isText():
		e.put(token, e.token)
	case hasToken:
		e.leave("env.%s isn't patrol's, and %s", authVar, where)
	case p == atWorkspace:
		e.add(env, 2, newMember(authVar, e.token))
	case c.create && !hasBase && c.owner.ProxyURL != "" && c.owner.clientKey() != "":
		c.addBoth(e, env)
	case c.create:
		e.leave("env.%s is missing and wasn't added: %s", authVar, where)
	}
}

// setKey puts the client key into an env whose base URL leads to our proxy,
// whatever stands there: the proxy takes it off, and whoever has the port while
// patrol is down must not get a token.
func (c claude) setKey(e *jsonEdit, env value) {
	key := c.owner.clientKey()
	token, hasToken := env.last(authVar)
	switch {
	case key == "" && hasToken:
		e.leaveValue(token, "env.%s leads to patrol's proxy, and the client key for it isn't known", authVar)
		return
	case key == "":
		return
	}
	c.renewAll(e, key, authVar, keyVar)
	switch {
	case c.owner.isKey(token.str):
		e.applies = true
	case e.isOurs(token): // done
	case token.isText():
		e.put(token, key)
	case hasToken:
		e.leave("env.%s is no text", authVar)
	default:
		e.add(env, 2, newMember(authVar, key))
	}
}

// renewAll puts a text in place of all tokens of ours in these variables: readers
// take the last of several, but an older one needn't stay in the others.
func (claude) renewAll(e *jsonEdit, text string, variables ...string) {
	for _, m := range e.root.members {
		if m.name != "env" {
			continue
		}
		for _, v := range m.value.members {
			for _, name := range variables {
				if v.name == name && e.isOurs(v.value) {
					e.put(v.value, text)
				}
			}
		}
	}
}

// addBoth points Claude Code at our proxy. It sends nothing without a key.
func (c claude) addBoth(e *jsonEdit, env value) {
	members := []string{newMember(baseVar, c.owner.ProxyURL), newMember(authVar, c.owner.clientKey())}
	if env.kind == '{' {
		e.add(env, 2, members...)
		return
	}
	e.add(e.root, 1, newObject("env", members...))
}
