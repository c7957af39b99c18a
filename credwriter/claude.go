package credwriter

import (
	"errors"

	"patrol/rotator/pat"
)

// Claude is Claude Code's settings.json. Its env.ANTHROPIC_AUTH_TOKEN is ours
// to replace if env.ANTHROPIC_BASE_URL beside it leads to this workspace, its
// gateway or our proxy; then it is also added where it is missing. Beside
// another base URL, or none, a value is sent to somebody else: there only a
// token of ours is replaced, where its user has put it.
type Claude struct {
	path   string
	create bool
	owner  Owner
}

// NewClaude returns the settings at path. With create, a file or token that is
// missing is made, with our proxy as the base URL; without, a missing file is
// nothing to do.
func NewClaude(path string, create bool, o Owner) *Claude {
	return &Claude{path: path, create: create, owner: o}
}

const (
	authVar = "ANTHROPIC_AUTH_TOKEN"
	baseVar = "ANTHROPIC_BASE_URL"
)

// Name returns "claude".
func (c *Claude) Name() string { return "claude" }

// Path returns the path as it was given.
func (c *Claude) Path() string { return c.path }

// Check reports why the token could not be replaced now; it changes nothing.
// It is nil if there is nothing to replace.
func (c *Claude) Check() error { return dryRun(c.path, c.editor(c.owner.rehearsal())) }

// Write puts t where our tokens stand, and returns what it left alone.
func (c *Claude) Write(t pat.Token) (left []string, err error) {
	return replace(c.path, c.editor(t))
}

// Holds reports whether any string in the file is the token with this hash:
// where Write would leave it alone, too, somebody may use it.
func (c *Claude) Holds(hash string) (bool, error) { return holdsJSON(c.path, hash) }

func (c *Claude) editor(t pat.Token) editor {
	return editJSON(c.path, c.owner, t, c.create, c.plan)
}

func (c *Claude) plan(e *jsonEdit) error {
	env, _ := e.file.root.last("env")
	for _, m := range e.file.root.members {
		if m.name != "env" {
			continue
		}
		if m.value.kind != '{' {
			return errors.New("its env is no object: make it one, or delete it")
		}
		for _, v := range m.value.members {
			// Readers take the last of several; an older token of ours needn't
			// stay in the others.
			if v.name == authVar && e.mine(v.value) {
				e.put(v.value)
			}
		}
	}
	base, hasBase := env.last(baseVar)
	served := base.isString() && c.owner.serves(base.str)
	token, hasToken := env.last(authVar)
	switch {
	case e.mine(token):
	case hasToken && served && (token.kind == '"' || token.kind == 'n'):
		e.put(token)
	case hasToken:
		e.leave("env.%s in %s isn't patrol's, and %s", authVar, c.path, c.beside(base, hasBase))
	case served:
		e.add(env, 2, pair{name: authVar, text: quote(e.token)})
	case c.create && !hasBase && c.owner.ProxyURL != "":
		c.addBoth(e, env)
	case c.create:
		e.leave("env.%s is missing in %s and wasn't added: %s", authVar, c.path, c.beside(base, hasBase))
	}
	return nil
}

// addBoth points Claude Code at our proxy. It sends nothing without a token.
func (c *Claude) addBoth(e *jsonEdit, env value) {
	pairs := []pair{
		{name: baseVar, text: quote(c.owner.ProxyURL)},
		{name: authVar, text: quote(e.token)},
	}
	if env.kind == '{' {
		e.add(env, 2, pairs...)
		return
	}
	e.add(e.file.root, 1, pair{name: "env", pairs: pairs})
}

// beside says where the token beside this base URL goes.
func (c *Claude) beside(base value, hasBase bool) string {
	if !hasBase {
		return baseVar + " beside it is missing"
	}
	h, err := pat.ParseHost(base.str)
	if err != nil || !base.isString() {
		return baseVar + " beside it is no URL"
	}
	return baseVar + " beside it leads to " + safe(h.String())
}
