package credwriter

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

// FuzzClearINI takes a token out of any text as .databrickscfg. If that is done,
// ini.v1 and Python's configparser read the same values as before, but for the
// token.
func FuzzClearINI(f *testing.F) {
	for _, e := range databrickscfgEdits() {
		f.Add([]byte(fill(e.in)))
	}
	python := startPython(f)
	f.Fuzz(func(t *testing.T, text []byte) { checkClearINI(t, python, text) })
}

// FuzzClearINIFragments does the same with texts that are put together from what
// ini files are made of.
func FuzzClearINIFragments(f *testing.F) {
	for i := range fragments {
		f.Add([]byte{24, 0, 29, 0, 33, 0, byte(i), byte(i / 2), 0, byte(i * 7)})
		f.Add([]byte{33, byte(i), 0, byte(i + 1), 33, 0, byte(i * 3), 33})
	}
	python := startPython(f)
	f.Fuzz(func(t *testing.T, choices []byte) {
		var text []byte
		for _, c := range choices[:min(len(choices), 60)] {
			text = append(text, fragments[int(c)%len(fragments)]...)
		}
		checkClearINI(t, python, text)
	})
}

// clearText removes the token and checks what must hold of each. It returns
// nil if nothing was done.
func clearText(t *testing.T, f Format, text []byte) []byte {
	t.Helper()
	was := bytes.Clone(text)
	got, err := f.Remove(text, goneOld)
	if !bytes.Equal(text, was) {
		t.Fatal("the edit changed its input")
	}
	if said := fmt.Sprint(err, got.Left); strings.Contains(said, oldValue) {
		t.Fatalf("a token got out: %s", said)
	}
	if err != nil {
		return nil
	}
	if got.Text == nil {
		return text
	}
	if again, err := f.Remove(got.Text, goneOld); err != nil || again.Text != nil {
		t.Errorf("%q became %q, and a second time %q (%v)", text, got.Text, again.Text, err)
	}
	rest := text
	for _, c := range got.Text {
		i := bytes.IndexByte(rest, c)
		if i < 0 {
			t.Fatalf("%q became %q: more than the token's absence is new in it", text, got.Text)
		}
		rest = rest[i+1:]
	}
	return got.Text
}

func checkClearINI(t *testing.T, python *python, text []byte) {
	t.Helper()
	after := clearText(t, databrickscfg{owner(), "DEFAULT"}, text)
	if after == nil {
		return
	}
	was, is := iniValues(t, text), iniValues(t, after)
	checkCleared(t, "ini.v1", text, after, was, is)
	if was, ok := python.read(t, text); ok {
		is, ok := python.read(t, after)
		if !ok {
			t.Fatalf("Python reads %q and doesn't read %q", text, after)
		}
		checkCleared(t, "Python", text, after, was, is)
	}
}

// checkCleared checks that what a reader sees is what it saw, but for tokens.
func checkCleared(t *testing.T, reader string, before, after []byte, was, is values) {
	t.Helper()
	for section, keys := range was {
		if is[section] == nil {
			t.Errorf("%s: %q became %q: section %s is gone", reader, before, after, section)
		}
		for key, old := range keys {
			value, has := is[section][key]
			name := key
			if reader == "Python" { // leaves quotes in names
				name = strings.Trim(key, "\"'`")
			}
			// Python may see a section, or lines, where Go's tools see none.
			token := (section != settings || reader == "Python") && strings.EqualFold(name, "token")
			switch {
			case token && value == oldValue && reader == "ini.v1":
				t.Errorf("%s still reads the token of %s in %q", reader, section, after)
			case has && value == old:
			case holdsOld(old) && (token || has && isWithin(value, old)):
			default:
				t.Errorf("%s: %q became %q: %s of %s was %q and is %q", reader, before, after, key, section, old, value)
			}
		}
	}
	for section, keys := range is {
		for key, value := range keys {
			if _, had := was[section][key]; !had {
				t.Errorf("%s: %q became %q: %s of %s is now %q", reader, before, after, key, section, value)
			}
		}
	}
}

// holdsOld reports whether a value holds the token, perhaps over several lines.
func holdsOld(value string) bool {
	return strings.Contains(strings.ReplaceAll(value, "\\\n", ""), oldValue)
}

// isWithin reports whether a value is what another was without one or more of
// its lines, or without the token on some: where Python takes the token's line
// for a part of a value.
func isWithin(value, old string) bool {
	rest := strings.Split(old, "\n")
	for line := range strings.SplitSeq(value, "\n") {
		for len(rest) > 0 && !strings.HasSuffix(rest[0], line) && strings.ReplaceAll(rest[0], " "+oldValue, "") != line {
			rest = rest[1:]
		}
		if len(rest) == 0 {
			return false
		}
		rest = rest[1:]
	}
	return true
}

// FuzzClearJSON takes a token out of any text as Claude's and OpenCode's files.
// If that is done, all else is as it was.
func FuzzClearJSON(f *testing.F) {
	for _, e := range append(claudeEdits(), openCodeEdits()...) {
		f.Add([]byte(fill(e.in)))
	}
	f.Fuzz(checkClearJSON)
}

// FuzzClearJSONFragments does the same with texts that are put together from
// what these files are made of.
func FuzzClearJSONFragments(f *testing.F) {
	for i := range jsonFragments {
		f.Add([]byte{0, 20, byte(i), 6, byte(i + 7), 1, 1})
		f.Add([]byte{0, 21, byte(i), 6, byte(i + 3), 1, 1})
		f.Add([]byte{0, 21, 25, 6, byte(i), 1, 6, 22, 0, 26, 1, 1})
	}
	f.Fuzz(func(t *testing.T, choices []byte) {
		var text []byte
		for _, c := range choices[:min(len(choices), 60)] {
			text = append(text, jsonFragments[int(c)%len(jsonFragments)]...)
		}
		checkClearJSON(t, text)
	})
}

func checkClearJSON(t *testing.T, text []byte) {
	t.Helper()
	if after := clearText(t, claude{owner(), true}, text); after != nil {
		was, is := decode(t, text), decode(t, after)
		old, _ := was["env"].(map[string]any)
		env, _ := is["env"].(map[string]any)
		if env[authVar] == oldValue {
			t.Errorf("%q still holds the token", after)
		}
		if old[authVar] == oldValue { // or its absence shows another of that name
			delete(old, authVar)
			delete(env, authVar)
		}
		if !reflect.DeepEqual(was, is) {
			t.Errorf("claude: %q became %q", text, after)
		}
	}
	if after := clearText(t, openCode{owner(), true, openCodeConfig{}}, text); after != nil {
		was, is := decode(t, text), decode(t, after)
		for id, entry := range was {
			if !ourProvider(id, entry) {
				continue
			}
			if ourProvider(id, is[id]) {
				t.Errorf("%q still holds the token of %s", after, id)
			}
			delete(was, id)
			delete(is, id)
		}
		if !reflect.DeepEqual(was, is) {
			t.Errorf("opencode: %q became %q", text, after)
		}
	}
}

// ourProvider reports whether OpenCode would use the token by this entry.
func ourProvider(id string, entry any) bool {
	all, _ := entry.(map[string]any)
	key, hasKey := all["key"]
	if !hasKey {
		key = all["api_key"]
	}
	kind, hasKind := all["type"]
	return (id == provider || strings.HasPrefix(id, provider+"-")) && key == oldValue && (!hasKind || kind == "api")
}
