package credwriter

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// FuzzJSON edits any text as Claude's and OpenCode's files. If an edit is made,
// the values are the same as before, but for the token's.
func FuzzJSON(f *testing.F) {
	for _, e := range append(claudeEdits(), openCodeEdits()...) {
		f.Add([]byte(fill(e.in)), true)
		f.Add([]byte(fill(e.in)), false)
	}
	f.Fuzz(checkJSONEdits)
}

var jsonFragments = strings.Split(fill("{|}|{|}|[|]|,|:| |\n|\r\n|\t|\n  |\ufeff|//|null|1e400|\"\"|\"a\"|\"\\ud800\"|"+
	"\"env\":{|\"databricks\":{|\"databricks-x\":|\"type\":\"api\"|\"type\": \"oauth\"|\"key\":\"OLD\"|\"api_key\": \"OLD\"|\"api_key\":\"x\"|"+
	"\"ANTHROPIC_AUTH_TOKEN\":\"OLD\"|\"ANTHROPIC_AUTH_TOKEN\":\"x\"|\"ANTHROPIC_AUTH_TOKEN\":null|\"ANTHROPIC_BASE_URL\": \"HOST/x\"|\"ANTHROPIC_BASE_URL\":\"http://localhost:4000\"|\"ANTHROPIC_BASE_URL\":1|\"ANTHROPIC_BASE_URL\":\"http://127.1:4000\""), "|")

// FuzzJSONFragments does the same with texts that are put together from what
// these files are made of.
func FuzzJSONFragments(f *testing.F) {
	for i := range jsonFragments {
		f.Add([]byte{0, 20, byte(i), 6, byte(i + 7), 1, 1}, i%2 == 0)
		f.Add([]byte{0, 21, byte(i), 6, byte(i + 3), 1, 1}, i%2 == 0)
	}
	f.Fuzz(func(t *testing.T, choices []byte, create bool) {
		var text []byte
		for _, c := range choices[:min(len(choices), 60)] {
			text = append(text, jsonFragments[int(c)%len(jsonFragments)]...)
		}
		checkJSONEdits(t, text, create)
	})
}

// checkJSONEdits checks all that must hold of the edits of a text.
func checkJSONEdits(t *testing.T, text []byte, create bool) {
	t.Helper()
	if bytes.Contains(text, []byte("dapinew")) || bytes.Contains(text, []byte("\\u")) && bytes.Contains(text, []byte("new")) {
		t.Skip()
	}
	for name, f := range map[string]Format{"claude": claude{owner(), create}, "opencode": openCode{owner(), create, openCodeConfig{}}} {
		was := bytes.Clone(text)
		got, err := f.Set(text, newValue, nil)
		if !bytes.Equal(text, was) {
			t.Fatal("the edit changed its input")
		}
		if err != nil && strings.Contains(err.Error(), oldValue) || strings.Contains(fmt.Sprint(got.Left), oldValue) {
			t.Fatalf("a token got out: %v %v", err, got.Left)
		}
		if err != nil || got.Text == nil {
			continue
		}
		second, err := f.Set(got.Text, newValue, nil)
		if err != nil || !bytes.Equal(second.Text, got.Text) || !slices.Equal(second.Left, got.Left) {
			t.Errorf("%s: a second edit (%v) makes %q of %q, and leaves %q, not %q", name, err, second.Text, got.Text, second.Left, got.Left)
		}
		checkJSON(t, name, text, got.Text)
		if name == "claude" {
			checkBesideProxy(t, got.Text)
		}
	}
}

func checkJSON(t *testing.T, name string, before, after []byte) {
	t.Helper()
	was, is := decode(t, before), decode(t, after)
	switch name {
	case "claude":
		old, _ := was["env"].(map[string]any)
		env, _ := is["env"].(map[string]any)
		for _, key := range []string{authVar, keyVar, baseVar} {
			if value := env[key]; !reflect.DeepEqual(value, old[key]) && value != newValue && value != keyValue && (value != "http://127.0.0.1:4000" || old[key] != nil) {
				t.Errorf("%s was %q and is %q", key, old[key], value)
			}
			delete(old, key)
			delete(env, key)
		}
		if len(env) == 0 && len(old) == 0 {
			delete(is, "env")
			delete(was, "env")
		}
	case "opencode":
		for id, entry := range is {
			now, _ := entry.(map[string]any)
			if now["key"] != newValue || id != "databricks" && !strings.HasPrefix(id, "databricks-") {
				continue
			}
			old, _ := was[id].(map[string]any)
			if now["type"] != "api" {
				t.Errorf("%s is of type %v", id, now["type"])
			}
			for _, key := range []string{"type", "key", "api_key"} {
				delete(now, key)
				delete(old, key)
			}
			if was[id] == nil && len(now) == 0 {
				delete(is, id)
			}
		}
	}
	if !reflect.DeepEqual(was, is) {
		t.Errorf("%s: %q became %q", name, before, after)
	}
}

// checkBesideProxy checks that no token stands beside our own proxy's URL, and that none
// was put beside what may be its.
func checkBesideProxy(t *testing.T, text []byte) {
	t.Helper()
	env, _ := decode(t, text)["env"].(map[string]any)
	base, _ := env[baseVar].(string)
	p, _ := owner().placeOf(base)
	for _, key := range []string{authVar, keyVar} {
		beside := p == atProxy || p == unknownPlace
		if beside && env[key] == newValue || p == atProxy && env[key] == oldValue {
			t.Errorf("%s is a token beside %q in %q", key, base, text)
		}
	}
}

func decode(t *testing.T, text []byte) map[string]any {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(bytes.TrimPrefix(text, []byte(bom))))
	d.UseNumber()
	var all map[string]any
	if err := d.Decode(&all); err != nil {
		t.Fatalf("%v: %q", err, text)
	}
	return all
}
