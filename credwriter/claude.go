package credwriter

import (
	"errors"

	"patrol/rotator/pat"
)

// claude is Claude Code's settings.json. Its env.ANTHROPIC_AUTH_TOKEN is ours
// to replace if env.ANTHROPIC_BASE_URL beside it leads to this workspace, its
// gateway or our proxy; then it is also added where it is missing. Beside
// another base URL, or none, a value is sent to somebody else: there only a
// token of ours is replaced, where its user has put it.
type claude struct {
	owner  Owner
	create bool
}

// NewClaude returns Claude Code's settings at path. With create, a file or
// token that is missing is made, with our proxy as the base URL; without, a
// missing file is nothing to do.
func NewClaude(path string, create bool, o Owner) *File {
	return &File{name: "claude", path: path, owner: o, create: create, blank: emptyObject, format: claude{o, create}}
}

const (
	authVar = "ANTHROPIC_AUTH_TOKEN"
	baseVar = "ANTHROPIC_BASE_URL"
)

func (c claude) Set(text []byte, token string, _ func(hash string) bool) (Edit, error) {
	return setJSON(text, token, c.owner, c.setToken)
}

func (c claude) Remove(text []byte, gone func(hash string) bool) (Edit, error) {
	return removeJSON(text, gone, func(e *jsonEdit) error {
		for _, m := range e.root.members {
			if m.name != "env" {
				continue
			}
			e.remove(m.value, func(v member) bool { return v.name == authVar && e.isOurs(v.value) })
			if token, ok := m.value.last(authVar); ok && !e.isOurs(token) {
				e.leave("env.%s isn't one that patrol made", authVar)
			}
		}
		return nil
	})
}

func (claude) Values(text []byte) ([]string, error) { return jsonValues(text) }

// setToken puts the token where ours stand, or belong.
func (c claude) setToken(e *jsonEdit) error {
	if err := c.renewAll(e); err != nil {
		return err
	}
	env, _ := e.root.last("env")
	base, hasBase := env.last(baseVar)
	served := base.isString() && c.owner.serves(base.str)
	token, hasToken := env.last(authVar)
	switch {
	case e.isOurs(token):
	case hasToken && served && (token.kind == '"' || token.kind == 'n'):
		e.putToken(token)
	case hasToken:
		e.leave("env.%s isn't patrol's, and %s", authVar, beside(base, hasBase))
	case served:
		e.add(env, 2, newMember(authVar, e.token))
	case c.create && !hasBase && c.owner.ProxyURL != "":
		c.addBoth(e, env)
	case c.create:
		e.leave("env.%s is missing and wasn't added: %s", authVar, beside(base, hasBase))
	}
	return nil
}

// renewAll renews all tokens of ours: readers take the last of several, but an
// older one needn't stay in the others.
func (claude) renewAll(e *jsonEdit) error {
	for _, m := range e.root.members {
		if m.name != "env" {
			continue
		}
		if m.value.kind != '{' {
			return errors.New("its env is no object: make it one, or delete it")
		}
		for _, v := range m.value.members {
			if v.name == authVar && e.isOurs(v.value) {
				e.putToken(v.value)
			}
		}
	}
	return nil
}

// addBoth points Claude Code at our proxy. It sends nothing without a token.
func (c claude) addBoth(e *jsonEdit, env value) {
	members := []string{newMember(baseVar, c.owner.ProxyURL), newMember(authVar, e.token)}
	if env.kind == '{' {
		e.add(env, 2, members...)
		return
	}
	e.add(e.root, 1, newObject("env", members...))
}

// beside says where the token beside this base URL goes.
func beside(base value, hasBase bool) string {
	h, err := pat.ParseHost(base.str)
	switch {
	case !hasBase:
		return baseVar + " beside it is missing"
	case err != nil || !base.isString():
		return baseVar + " beside it is no URL"
	}
	return baseVar + " beside it leads to " + pat.Redact(h.String())
}
