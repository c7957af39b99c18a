package credwriter

import (
	"slices"
	"strings"

	"patrol/rotator/pat"
)

// openCode is OpenCode's auth.json. Of its providers databricks and
// databricks-… an API key is replaced if Owner.Ours knows it. An entry of the
// old form, {"api_key": …}, which OpenCode ignores, becomes what it reads,
// {"type": "api", "key": …}; what else stands in it stays. Other providers and
// other types are left alone.
type openCode struct {
	owner  Owner
	create bool
}

// NewOpenCode returns OpenCode's credentials at path. With create, a file or an
// entry databricks that is missing is made; without, a missing file is nothing
// to do.
func NewOpenCode(path string, create bool, o Owner) *File {
	return &File{name: "opencode", path: path, owner: o, create: create, blank: emptyObject, format: openCode{o, create}}
}

const provider = "databricks"

func isProvider(name string) bool { return name == provider || strings.HasPrefix(name, provider+"-") }

func (c openCode) Set(text []byte, token string, _ func(hash string) bool) (Edit, error) {
	return setJSON(text, token, c.owner, func(e *jsonEdit) error {
		for _, m := range e.root.members {
			if isProvider(m.name) {
				c.setKey(e, pat.Redact(m.name), m.value)
			}
		}
		if _, ok := e.root.last(provider); !ok && c.create {
			e.add(e.root, 1, newObject(provider, newMember("type", "api"), newMember("key", e.token)))
		}
		return nil
	})
}

func (openCode) Remove(text []byte, gone func(hash string) bool) (Edit, error) {
	return removeJSON(text, gone, func(e *jsonEdit) error {
		e.remove(e.root, func(m member) bool {
			if !isProvider(m.name) {
				return false
			}
			kind, hasKind := m.value.last("type")
			key, hasKey := m.value.last("key")
			if !hasKey {
				key, hasKey = m.value.last("api_key")
			}
			ours := e.isOurs(key) && (!hasKind || kind.str == "api")
			if hasKey && !ours {
				e.leave("the key of %s isn't one that patrol made", pat.Redact(m.name))
			}
			return ours
		})
		return nil
	})
}

func (openCode) Values(text []byte) ([]string, error) { return jsonValues(text) }

// setKey makes the token the key of a provider's entry, if what stands there is
// ours.
func (c openCode) setKey(e *jsonEdit, name string, entry value) {
	kind, hasKind := entry.last("type")
	key, hasKey := entry.last("key")
	old, hasOld := entry.last("api_key")
	switch {
	case entry.kind != '{':
		e.leave("%s is no object", name)
	case hasKind && kind.str != "api":
		e.leave("%s signs in by another type than an API key", name)
	case hasKey && hasKind && e.isOurs(key):
		e.putToken(key)
	case hasOld && !hasKey && e.isOurs(old):
		c.renew(e, entry, hasKind)
	case hasKey || hasOld:
		e.leave("the key of %s isn't patrol's", name)
	default:
		e.leave("%s has no key", name)
	}
}

// renew makes an entry of the old form what OpenCode reads.
func (openCode) renew(e *jsonEdit, entry value, hasKind bool) {
	for _, m := range slices.Backward(entry.members) {
		if m.name != "api_key" {
			continue
		}
		colon := string(e.text[m.end:m.value.start])
		text := quote("key") + colon + quote(e.token)
		if !hasKind {
			text = quote("type") + colon + quote("api") + e.separator(entry) + text
		}
		e.replace(m.start, m.value.end, text)
		return // the last is the one that was read
	}
}
