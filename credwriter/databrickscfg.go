package credwriter

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"strings"
	"unicode"
	"unicode/utf8"

	"patrol/rotator/pat"
)

// Databrickscfg is a profile of .databrickscfg. It is made if it is missing,
// and so is the file. A token in another profile that Owner.Ours knows moves
// along, unless that profile belongs to another host.
type Databrickscfg struct {
	path, profile string
	owner         Owner
}

// NewDatabrickscfg returns the profile of this name in the file at path; ""
// names the one that ReadProfile picks.
func NewDatabrickscfg(path, profile string, o Owner) *Databrickscfg {
	return &Databrickscfg{path: path, profile: profile, owner: o}
}

// Name returns "databrickscfg".
func (d *Databrickscfg) Name() string { return "databrickscfg" }

// Path returns the path as it was given.
func (d *Databrickscfg) Path() string { return d.path }

// Check reports why a token could not be written now; it changes nothing.
func (d *Databrickscfg) Check() error { return dryRun(d.path, d.editor(d.owner.rehearsal())) }

// Write puts t into the profile, and its host where that is missing. It
// returns what was left alone elsewhere in the file. The error is an
// *OtherAuthError or an *OtherHostError if the profile can't take a token.
func (d *Databrickscfg) Write(t pat.Token) (left []string, err error) {
	return replace(d.path, d.editor(t))
}

// Holds reports whether any setting in the file, in any profile, is the token
// with this hash. A token in a profile that belongs to another host counts:
// Write leaves it alone, but somebody may use it.
func (d *Databrickscfg) Holds(hash string) (bool, error) {
	content, _, err := look(d.path)
	if err != nil {
		return false, err
	}
	f, err := parseINI(content)
	if err != nil {
		return false, fmt.Errorf("reading %s: %w", d.path, err)
	}
	for _, section := range f.sections {
		for _, key := range section.keys {
			if key.value != "" && pat.Hash(key.value) == hash {
				return true, nil
			}
		}
	}
	return false, nil
}

// editor returns the edit that puts t into the file.
func (d *Databrickscfg) editor(t pat.Token) editor {
	return func(content []byte, _ bool) (change, error) {
		value, err := d.owner.admit(t)
		if err != nil {
			return change{}, err
		}
		f, err := parseINI(content)
		if err != nil {
			return change{}, err
		}
		e := profileEdit{Databrickscfg: d, file: f, value: value, was: f.values()}
		if e.profile, err = pick(e.was, d.profile); err != nil {
			return change{}, err
		}
		if err := e.ownProfile(); err != nil {
			return change{}, err
		}
		e.otherProfiles()
		out := apply(content, e.splices)
		if got, err := parseValues(out); err != nil || !got.equal(e.wanted()) {
			return change{}, fmt.Errorf("profile %s can't be changed without changing what else is read from the file: put its settings on lines of their own, key = value, without quotes", e.profile)
		}
		return change{content: out, left: e.left}, nil
	}
}

// profileEdit is one edit under way.
type profileEdit struct {
	*Databrickscfg
	profile string
	file    *iniFile
	value   string
	was     values // what is read from the file
	splices []splice
	added   map[string]string // to the profile
	left    []string
}

// wanted returns what is to be read from the file afterwards.
func (e *profileEdit) wanted() values {
	all := e.file.values()
	if all[e.profile] == nil {
		all[e.profile] = map[string]string{}
	}
	maps.Copy(all[e.profile], e.added)
	return all
}

// ownProfile puts the token into the profile.
func (e *profileEdit) ownProfile() error {
	keys := e.file.keys(e.profile)
	if err := e.permit(keys); err != nil {
		return err
	}
	if !e.file.has(e.profile) {
		return e.addProfile()
	}
	var missing []setting
	for _, setting := range e.settings() {
		set := false
		for _, k := range keys {
			if k.name != setting.name {
				continue
			}
			set = true
			if k.name == "host" && k.value != "" {
				continue
			}
			if err := e.set(k, setting.value); err != nil {
				return err
			}
		}
		if !set {
			missing = append(missing, setting)
		}
	}
	return e.add(missing)
}

type setting struct{ name, value string }

// settings are what the profile must have.
func (e *profileEdit) settings() []setting {
	return []setting{{"host", e.owner.Host}, {"token", e.value}}
}

// permit reports why the token may not be written into the profile.
func (e *profileEdit) permit(keys []*iniKey) error {
	own := e.was[e.profile]
	if method := otherAuth(own); method != "" {
		return &OtherAuthError{Path: e.path, Profile: e.profile, Method: method}
	}
	for _, k := range keys {
		// To Python a line added in small letters would be the same key again,
		// and then it reads nothing of the file.
		if small := strings.ToLower(k.name); small != k.name && (small == "token" || small == "host") && own[small] == "" {
			return fmt.Errorf("profile %s has the key %s, which Go's tools don't read: write it in small letters", e.profile, k.name)
		}
		// Which of several is read depends on the reader.
		if k.name == "host" && k.value != "" && !e.here(k.value, own["workspace_id"]) {
			return &OtherHostError{Path: e.path, Profile: e.profile, Host: safe(k.value), Want: e.owner.Host}
		}
	}
	if t := own["token"]; t != "" && t != e.value && own["host"] == "" && !e.owner.ours(t) {
		return &OtherHostError{Path: e.path, Profile: e.profile, Want: e.owner.Host}
	}
	return nil
}

// here reports whether a profile's host is this workspace.
func (e *profileEdit) here(host, workspaceID string) bool {
	h, err := pat.ParseHost(host)
	ours, err2 := pat.ParseHost(e.owner.Host)
	h.Workspace = cmp.Or(h.Workspace, workspaceID)
	ours.Workspace = cmp.Or(ours.Workspace, e.owner.WorkspaceID)
	return err == nil && err2 == nil && h.MaySame(ours)
}

// otherProfiles moves our own tokens in other profiles along: they are about
// to be revoked. A profile that signs in by other means has the new one put in
// the old one's place too; nothing else changes for it.
func (e *profileEdit) otherProfiles() {
	for _, s := range e.file.sections {
		for i := range s.keys {
			k := &s.keys[i]
			if !e.owner.ours(k.value) || k.value == e.value || s.name == e.profile && k.name == "token" {
				continue
			}
			where := fmt.Sprintf("%s of profile %s in %s", safe(k.name), safe(s.name), e.path)
			host := e.was[s.name]["host"]
			switch {
			case s.name == settings || !strings.EqualFold(k.name, "token"):
				e.left = append(e.left, fmt.Sprintf("%s holds one of patrol's tokens, in a place that patrol doesn't write", where))
			case host != "" && !e.here(host, e.was[s.name]["workspace_id"]):
				e.left = append(e.left, fmt.Sprintf("%s holds one of patrol's tokens beside another host, %s", where, safe(host)))
			case e.set(k, e.value) != nil:
				e.left = append(e.left, fmt.Sprintf("%s holds one of patrol's tokens, over several lines: write it on one", where))
			}
		}
	}
}

// set replaces the value of a key.
func (e *profileEdit) set(k *iniKey, value string) error {
	if !k.simple {
		return fmt.Errorf("its %s goes over several lines: write it on one", k.name)
	}
	start, end, text := k.start, k.end, value
	if start == end {
		start, end = e.file.aroundQuotes(start)
		if before := e.file.text[:start]; bytes.HasSuffix(before, []byte(" =")) || bytes.HasSuffix(before, []byte(" :")) {
			text = " " + value
		}
	}
	e.splices = append(e.splices, splice{start, end, text})
	k.value = value
	return nil
}

// add adds settings to the profile, after its last one.
func (e *profileEdit) add(missing []setting) error {
	if len(missing) == 0 {
		return nil
	}
	if err := e.file.extensible(); err != nil {
		return err
	}
	for _, k := range e.file.keys(e.profile) {
		// Python's reader may see keys in them.
		if bytes.ContainsRune(e.file.text[k.line.start:k.line.end], '\n') {
			return fmt.Errorf("nothing can be added to profile %s: its %s goes over several lines: write it on one", e.profile, safe(k.name))
		}
	}
	at, indent := 0, false
	for i, s := range e.file.sections {
		if s.name == e.profile && (i > 0 || len(s.keys) > 0) {
			at, indent = s.head.end, i > 0 && e.file.text[s.head.start] != '['
			for _, k := range s.keys {
				at = k.line.end
			}
			break
		}
	}
	if indent || indented(e.file.text[at:]) {
		return fmt.Errorf("nothing can be added to profile %s: its header or a line below it is indented, and Python's reader would take what is added for something else: take the indentation away", e.profile)
	}
	eol := e.file.eol(at)
	var lines strings.Builder
	for _, s := range missing {
		lines.WriteString(eol + e.line(s))
	}
	e.splices = append(e.splices, splice{at, at, lines.String()})
	return nil
}

// line notes that a setting is added, and returns its line.
func (e *profileEdit) line(s setting) string {
	if e.added == nil {
		e.added = map[string]string{}
	}
	e.added[s.name] = s.value
	return s.name + " = " + s.value
}

// indented reports whether the first line that says something is indented:
// Python's reader takes it for a part of the setting before it.
func indented(text []byte) bool {
	for line := range bytes.Lines(bytes.TrimLeft(text, "\r\n")) {
		said := bytes.TrimLeftFunc(line, isPythonSpace)
		if len(said) == 0 || said[0] == '#' || said[0] == ';' {
			continue
		}
		return len(said) < len(line)
	}
	return false
}

// isPythonSpace reports whether r is a blank to Python, which counts ASCII's
// separators too.
func isPythonSpace(r rune) bool { return unicode.IsSpace(r) || '\x1c' <= r && r <= '\x1f' }

// addProfile adds the profile at the end of the file.
func (e *profileEdit) addProfile() error {
	odd := func(r rune) bool { return !unicode.IsPrint(r) || r == '[' || r == ']' }
	if !utf8.ValidString(e.profile) || strings.ContainsFunc(e.profile, odd) || e.profile != strings.TrimSpace(e.profile) {
		return errors.New("a profile's name has only what can be printed, no brackets in it, and no blanks at its ends")
	}
	if err := e.file.extensible(); err != nil {
		return err
	}
	text := e.file.text
	eol := e.file.eol(len(text))
	add := ""
	if said := bytes.TrimPrefix(text, []byte(bom)); len(said) > 0 {
		if said[len(said)-1] != '\n' {
			add = eol
		}
		if len(bytes.TrimSpace(said)) > 0 {
			add += eol
		}
	}
	add += "[" + e.profile + "]" + eol
	for _, s := range e.settings() {
		add += e.line(s) + eol
	}
	e.splices = append(e.splices, splice{len(text), len(text), add})
	return nil
}

// extensible reports why no line can be added anywhere: Go's reader and
// Python's see lines begin and end at different places.
func (f *iniFile) extensible() error {
	for i, c := range f.text {
		bare := c == '\r' && i+1 < len(f.text) && f.text[i+1] != '\n'
		if bare || c < ' ' && c != '\t' && c != '\r' && c != '\n' {
			return fmt.Errorf("a control character in line %d keeps patrol from adding a setting, since Python's reader may see another line there: take it out", 1+bytes.Count(f.text[:i], []byte("\n")))
		}
	}
	return nil
}

// keys returns the keys of all sections of this name.
func (f *iniFile) keys(name string) []*iniKey {
	var all []*iniKey
	for _, s := range f.sections {
		for i := range s.keys {
			if s.name == name {
				all = append(all, &s.keys[i])
			}
		}
	}
	return all
}

// eol returns the line end to use at a place: that of the line there, else
// the text's first.
func (f *iniFile) eol(at int) string {
	for _, rest := range [][]byte{f.text[at:], f.text} {
		if i := bytes.IndexByte(rest, '\n'); i >= 0 {
			if i > 0 && rest[i-1] == '\r' {
				return "\r\n"
			}
			return "\n"
		}
	}
	return "\n"
}
