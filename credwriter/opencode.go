package credwriter

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"patrol/rotator/pat"
)

// openCode is OpenCode's auth.json. What the key of a provider databricks or
// databricks-… is to be depends on the provider's base URL in OpenCode's own
// configuration: the client key if that leads to our proxy; then an entry that is
// missing is added. Elsewhere an API key is replaced by the token if Owner.Ours
// knows it, but not beside another profile's proxy, another address of this machine,
// or what isn't a URL to everybody. An entry of the old form, {"api_key": …}, which OpenCode ignores,
// becomes what it reads, {"type": "api", "key": …}; what else stands in it stays.
// Other providers and other types are left alone.
type openCode struct {
	owner  Owner
	create bool
	config openCodeConfig
}

// NewOpenCode returns OpenCode's credentials at path. configs are the paths of its
// configuration, of which the last one counts most; they are read before each look
// at the credentials. With create, a file or an entry databricks that is missing is
// made; without, a missing file is nothing to do, unless a provider's base URL
// leads to our proxy.
func NewOpenCode(path string, configs []string, create bool, o Owner) *File {
	look := func() (Format, bool) {
		c := openCode{o, create, readOpenCodeConfig(configs)}
		return c, create || len(c.missing(value{})) > 0
	}
	return &File{name: "opencode", path: path, owner: o, blank: emptyObject, look: look}
}

const provider = "databricks"

func isProvider(name string) bool { return name == provider || strings.HasPrefix(name, provider+"-") }

func (c openCode) Set(text []byte, token string, _ func(hash string) bool) (Edit, error) {
	return setJSON(text, token, c.owner, func(e *jsonEdit) error {
		for _, m := range e.root.members {
			if isProvider(m.name) {
				c.setEntry(e, m.name, m.value)
			}
		}
		c.addEntries(e)
		c.tellOfOptions(e)
		return nil
	})
}

// Remove leaves a client key where it is, as claude's does.
func (c openCode) Remove(text []byte, gone func(hash string) bool) (Edit, error) {
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
			if hasKey && !ours && !c.owner.isKey(key.str) {
				e.leave("the key of %s isn't one that patrol made", pat.Redact(m.name))
			}
			return ours
		})
		return nil
	})
}

func (openCode) Values(text []byte) ([]string, error) { return jsonValues(text) }

// setEntry puts the token or the client key into a provider's entry.
func (c openCode) setEntry(e *jsonEdit, name string, entry value) {
	shown := pat.Redact(name)
	kind, hasKind := entry.last("type")
	switch {
	case entry.kind != '{':
		e.leave("%s is no object", shown)
		return
	case hasKind && kind.str != "api":
		e.leave("%s signs in by another type than an API key", shown)
		return
	}
	switch p, where := c.placeOf(name); p {
	case atProxy:
		c.setKey(e, shown, entry)
	case atOtherProxy, unknownPlace:
		leaveEntry(e, entry, "the key of %s was left as it is: %s", shown, where)
	default:
		c.setToken(e, shown, entry)
	}
}

// setToken makes the token the key of a provider's entry, if what stands there is
// ours.
func (c openCode) setToken(e *jsonEdit, name string, entry value) {
	_, hasKind := entry.last("type")
	key, hasKey := entry.last("key")
	old, hasOld := entry.last("api_key")
	switch {
	case hasKey && hasKind && e.isOurs(key):
		e.put(key, e.token)
	case hasOld && !hasKey && e.isOurs(old):
		c.renew(e, entry, hasKind, e.token)
	case hasKey || hasOld:
		e.leave("the key of %s isn't patrol's", name)
	default:
		e.leave("%s has no key", name)
	}
}

// setKey makes the client key the key of a provider's entry, whatever stands there.
func (c openCode) setKey(e *jsonEdit, name string, entry value) {
	_, hasKind := entry.last("type")
	key, hasKey := entry.last("key")
	old, hasOld := entry.last("api_key")
	ours := c.owner.clientKey()
	switch {
	case ours == "":
		leaveEntry(e, entry, "the key of %s was left as it is: it leads to patrol's proxy, and the client key for that isn't known", name)
	case hasKey && !key.isText(), !hasKey && hasOld && !old.isText():
		e.leave("the key of %s is no text", name)
	case !hasKey && hasOld:
		c.renew(e, entry, hasKind, ours)
	case !hasKey && !hasKind:
		e.add(entry, 2, newMember("type", "api"), newMember("key", ours))
	case !hasKey:
		e.add(entry, 2, newMember("key", ours))
	case c.owner.isKey(key.str):
		e.applies = true
		c.addKind(e, entry, hasKind)
	default:
		e.put(key, ours)
		c.addKind(e, entry, hasKind)
	}
}

// addKind adds the type to an entry that has a key and none, which OpenCode ignores.
func (openCode) addKind(e *jsonEdit, entry value, hasKind bool) {
	if !hasKind {
		e.add(entry, 2, newMember("type", "api"))
	}
}

// leaveEntry leaves an entry alone, and says why once for all that stands in it.
func leaveEntry(e *jsonEdit, entry value, format string, args ...any) {
	entry.walk("", func(_ string, v value) { e.told = append(e.told, v.end) })
	e.leave(format, args...)
}

// missing returns the providers that lead to our proxy and have no entry.
func (c openCode) missing(root value) (names []string) {
	if c.owner.clientKey() == "" {
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(c.config.bases)) {
		_, there := root.last(name)
		if p, _ := c.placeOf(name); p == atProxy && !there {
			names = append(names, name)
		}
	}
	return names
}

// addEntries adds the entries that are missing, and with create that of databricks.
func (c openCode) addEntries(e *jsonEdit) {
	var entries []string
	for _, name := range c.missing(e.root) {
		entries = append(entries, newObject(name, newMember("type", "api"), newMember("key", c.owner.clientKey())))
	}
	if _, there := e.root.last(provider); !there && c.create {
		switch p, where := c.placeOf(provider); p {
		case atProxy: // it is one of those, if there is a client key
		case atWorkspace, noBase:
			entries = append(entries, newObject(provider, newMember("type", "api"), newMember("key", e.token)))
		default:
			e.leave("%s is missing and wasn't added: %s", provider, where)
		}
	}
	if entries != nil {
		e.add(e.root, 1, entries...)
	}
}

// tellOfOptions says that a token of ours stands in OpenCode's configuration: there
// it is read instead of the one in auth.json.
func (c openCode) tellOfOptions(e *jsonEdit) {
	for _, name := range slices.Sorted(maps.Keys(c.config.apiKeys)) {
		if o := c.config.apiKeys[name]; e.ours(o.text) {
			e.leave("options.apiKey of %s in %s is one of patrol's tokens: take it out, or it is used instead of what stands here", pat.Redact(name), o.path)
		}
	}
}

// placeOf returns where a provider's requests go, and says it in words.
func (c openCode) placeOf(name string) (p place, where string) {
	base, ok := c.config.bases[name]
	switch {
	case c.config.err != nil:
		return unknownPlace, fmt.Sprintf("where it goes isn't known: %v", c.config.err)
	case !ok:
		return noBase, "there is no baseURL"
	case strings.ContainsAny(base.text, "{}"):
		return unknownPlace, fmt.Sprintf("where it goes isn't known: its baseURL in %s has a variable", base.path)
	}
	p, profile := c.owner.placeOf(base.text)
	switch {
	case p == atOtherProxy:
		return p, fmt.Sprintf("its baseURL in %s leads to the proxy of profile %q", base.path, profile)
	case p == unknownPlace, base.text == "":
		return unknownPlace, fmt.Sprintf("its baseURL in %s is no URL that surely leads past patrol's port: %s", base.path, c.owner.mendBase())
	}
	return p, fmt.Sprintf("its baseURL in %s leads past this workspace", base.path)
}

// renew makes an entry of the old form what OpenCode reads, with this key.
func (openCode) renew(e *jsonEdit, entry value, hasKind bool, key string) {
	for _, m := range slices.Backward(entry.members) {
		if m.name != "api_key" {
			continue
		}
		colon := string(e.text[m.end:m.value.start])
		text := quote("key") + colon + quote(key)
		if !hasKind {
			text = quote("type") + colon + quote("api") + e.separator(entry) + text
		}
		e.replace(m.start, m.value.end, text)
		return // the last is the one that was read
	}
}
