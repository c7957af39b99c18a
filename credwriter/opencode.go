package credwriter

import (
	"slices"
	"strings"

	"patrol/rotator/pat"
)

// OpenCode is OpenCode's auth.json. Of its providers databricks and
// databricks-… an API key is replaced if Owner.Ours knows it. An entry of the
// old form, {"api_key": …}, which OpenCode ignores, becomes what it reads,
// {"type": "api", "key": …}; what else stands in it stays. Other providers and
// other types are left alone.
type OpenCode struct {
	path   string
	create bool
	owner  Owner
}

// NewOpenCode returns the credentials at path. With create, a file or an entry
// databricks that is missing is made; without, a missing file is nothing to
// do.
func NewOpenCode(path string, create bool, o Owner) *OpenCode {
	return &OpenCode{path: path, create: create, owner: o}
}

const provider = "databricks"

// Name returns "opencode".
func (c *OpenCode) Name() string { return "opencode" }

// Path returns the path as it was given.
func (c *OpenCode) Path() string { return c.path }

// Check reports why the keys could not be replaced now; it changes nothing.
// It is nil if there is nothing to replace.
func (c *OpenCode) Check() error { return dryRun(c.path, c.editor(c.owner.rehearsal())) }

// Write puts t where our tokens stand, and returns what it left alone.
func (c *OpenCode) Write(t pat.Token) (left []string, err error) {
	return replace(c.path, c.editor(t))
}

// Holds reports whether any string in the file is the token with this hash:
// where Write would leave it alone, too, somebody may use it.
func (c *OpenCode) Holds(hash string) (bool, error) { return holdsJSON(c.path, hash) }

func (c *OpenCode) editor(t pat.Token) editor {
	return editJSON(c.path, c.owner, t, c.create, c.plan)
}

func (c *OpenCode) plan(e *jsonEdit) error {
	root := e.file.root
	for _, m := range root.members {
		if m.name == provider || strings.HasPrefix(m.name, provider+"-") {
			c.entry(e, m.name, m.value)
		}
	}
	if _, ok := root.last(provider); !ok && c.create {
		e.add(root, 1, pair{name: provider, pairs: []pair{
			{name: "type", text: quote("api")},
			{name: "key", text: quote(e.token)},
		}})
	}
	return nil
}

// entry puts the token into a provider's entry, if what stands there is ours.
func (c *OpenCode) entry(e *jsonEdit, id string, entry value) {
	name := safe(id)
	kind, hasKind := entry.last("type")
	key, hasKey := entry.last("key")
	old, hasOld := entry.last("api_key")
	switch {
	case entry.kind != '{':
		e.leave("%s in %s is no object", name, c.path)
	case hasKind && kind.str != "api":
		e.leave("%s in %s signs in by another type than an API key", name, c.path)
	case hasKey && hasKind && e.mine(key):
		e.put(key)
	case hasOld && !hasKey && e.mine(old):
		c.renew(e, entry, hasKind)
	case hasKey || hasOld:
		e.leave("the key of %s in %s isn't patrol's", name, c.path)
	default:
		e.leave("%s in %s has no key", name, c.path)
	}
}

// renew makes an entry of the old form what OpenCode reads.
func (c *OpenCode) renew(e *jsonEdit, entry value, hasKind bool) {
	e.holds = true
	for _, m := range slices.Backward(entry.members) {
		if m.name != "api_key" {
			continue
		}
		colon := string(e.file.text[m.end:m.value.start])
		text := quote("key") + colon + quote(e.token)
		if !hasKind {
			text = quote("type") + colon + quote("api") + e.file.between(entry) + text
		}
		e.splices = append(e.splices, splice{m.start, m.value.end, text})
		return // the last is the one that was read
	}
}
