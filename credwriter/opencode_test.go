package credwriter

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// openCodeEdits are the rows of TestOpenCode, and what fuzzing starts from.
func openCodeEdits() []row {
	return []row{
		{
			name: "as people have it",
			in:   "{\n  \"openai\": {\n    \"type\": \"api\",\n    \"key\": \"sk-real\"\n  },\n  \"databricks\": {\n    \"type\": \"api\",\n    \"key\": \"OLD\",\n    \"metadata\": {\"a\": 1.0}\n  },\n  \"databricks-anthropic\": {\"key\": \"OLD\", \"type\": \"api\"},\n  \"anthropic\": {\"type\": \"oauth\", \"refresh\": \"r\", \"access\": \"a\", \"expires\": 1e15}\n}",
			out:  "{\n  \"openai\": {\n    \"type\": \"api\",\n    \"key\": \"sk-real\"\n  },\n  \"databricks\": {\n    \"type\": \"api\",\n    \"key\": \"NEW\",\n    \"metadata\": {\"a\": 1.0}\n  },\n  \"databricks-anthropic\": {\"key\": \"NEW\", \"type\": \"api\"},\n  \"anthropic\": {\"type\": \"oauth\", \"refresh\": \"r\", \"access\": \"a\", \"expires\": 1e15}\n}",
		},
		{name: "the old form", in: `{"databricks": {"api_key": "OLD"}}`, out: `{"databricks": {"type": "api", "key": "NEW"}}`},
		{name: "the old form, tight", in: `{"databricks":{"api_key":"OLD"}}`, out: `{"databricks":{"type":"api","key":"NEW"}}`},
		{name: "the old form, laid out", in: "{\n    \"databricks\": {\n        \"api_key\": \"OLD\",\n        \"note\": \"x\"\n    }\n}\n", out: "{\n    \"databricks\": {\n        \"type\": \"api\",\n        \"key\": \"NEW\",\n        \"note\": \"x\"\n    }\n}\n"},
		{name: "the old form with its type", in: `{"databricks":{"type":"api","api_key":"OLD"}}`, out: `{"databricks":{"type":"api","key":"NEW"}}`},
		{name: "the old form, not ours", in: `{"databricks":{"api_key":"dapix"}}`, left: "the key of databricks"},
		{name: "the old form beside a key", in: `{"databricks":{"api_key":"OLD","key":"x"}}`, left: "isn't patrol's"},
		{name: "not ours", in: `{"databricks":{"type":"api","key":"dapix"}}`, left: "the key of databricks"},
		{name: "no key", in: `{"databricks":{"type":"api"}}`, left: "has no key"},
		{name: "empty key", in: `{"databricks":{"type":"api","key":""}}`, left: "isn't patrol's"},
		{name: "other types", in: `{"databricks":{"type":"oauth","access":"a"},"databricks-x":{"type":"wellknown","key":"K","token":"T"}}`, left: "databricks-x"},
		{name: "our token in another type", in: `{"databricks":{"type":"wellknown","key":"OLD","token":"x"}}`, left: "/databricks/key"},
		{name: "no object", in: `{"databricks":"OLD"}`, left: "databricks"},
		{name: "our token elsewhere", in: `{"openai":{"type":"api","key":"OLD"}}`, left: "/openai/key"},
		{name: "duplicates", in: `{"databricks":{"type":"api","key":"OLD"},"databricks":{"type":"api","key":"x","key":"OLD"}}`, out: `{"databricks":{"type":"api","key":"NEW"},"databricks":{"type":"api","key":"x","key":"NEW"}}`},
		{name: "names alike", in: `{"databricksx":{"type":"api","key":"x"},"Databricks":{"type":"api","key":"x"}}`},
		{name: "nothing", in: "{}"},
		{name: "a list", in: "[]", err: "no object"},
		{name: "null", in: "null", err: "no object"},
		{name: "no JSON", in: "{'databricks': OLD}", err: "line 1, column 2"},
	}
}

func TestOpenCodeSet(t *testing.T) { sets(t, openCode{owner: owner()}, openCodeEdits()) }

func TestOpenCodeCreates(t *testing.T) {
	const entry = "\"databricks\": {\n    \"type\": \"api\",\n    \"key\": \"NEW\"\n  }\n}\n"
	sets(t, openCode{owner(), true, openCodeConfig{}}, []row{
		{name: "into nothing", in: "{}\n", out: "{\n  " + entry},
		{name: "beside others", in: "{\n  \"openai\": {\n    \"type\": \"api\",\n    \"key\": \"sk\"\n  }\n}\n", out: "{\n  \"openai\": {\n    \"type\": \"api\",\n    \"key\": \"sk\"\n  },\n  " + entry},
		{name: "with tabs", in: "{\n\t\"a\": {},\n\t\"b\": {}\n}", out: "{\n\t\"a\": {},\n\t\"b\": {},\n\t\"databricks\": {\n\t\t\"type\": \"api\",\n\t\t\"key\": \"NEW\"\n\t}\n}"},
		{name: "tight", in: `{"a":{}}`, out: `{"a":{},"databricks":{"type":"api","key":"NEW"}}`},
		{name: "not over another's", in: `{"databricks":{"type":"api","key":"x"}}`, left: "isn't patrol's"},
	})
}

func TestOpenCodeRemove(t *testing.T) {
	removes(t, openCode{owner: owner()}, []row{
		{name: "beside others", in: "{\n  \"openai\": {\"type\": \"api\", \"key\": \"sk\"},\n  \"databricks\": {\"type\": \"api\", \"key\": \"OLD\"}\n}\n", out: "{\n  \"openai\": {\"type\": \"api\", \"key\": \"sk\"}\n}\n"},
		{name: "two, and the old form", in: `{"databricks":{"type":"api","key":"OLD"},"databricks-x":{"api_key":"OLD"}}`, out: `{}`},
		{name: "not ours", in: `{"databricks":{"type":"api","key":"x"},"databricks-x":{"type":"api","key":"OLD"}}`, out: `{"databricks":{"type":"api","key":"x"}}`, left: "the key of databricks"},
		{name: "another type", in: `{"databricks":{"type":"wellknown","key":"OLD"}}`, left: "the key of databricks"},
		{name: "another provider", in: `{"openai":{"type":"api","key":"OLD"}}`, left: "/openai/key"},
		{name: "no object", in: `{"databricks":null}`},
	})
}

// TestOpenCodeBesideProxy: what a provider's baseURL says of its key.
func TestOpenCodeBesideProxy(t *testing.T) {
	config := configOf(t, `{"provider":{
		"databricks":{"options":{"baseURL":"http://localhost:4000/v1"}},
		"databricks-a":{"api":"http://127.0.0.1:4000/v1"},
		"databricks-b":{"options":{"baseURL":"http://localhost:4001/v1"}},
		"databricks-c":{"options":{"baseURL":"{env:BASE}/v1"}},
		"databricks-d":{"options":{"baseURL":"HOST/serving-endpoints"}},
		"openai":{"options":{"baseURL":"http://localhost:4000/v1"}}}}`)
	const rest = `,"databricks":{"key":"OWN","type":"api"},"databricks-a":{"key":"OWN","type":"api"}}`
	sets(t, openCode{owner(), false, config}, []row{
		{name: "our token", in: `{"databricks-a":{"type":"api","key":"OLD"},"databricks":{"type":"api","key":"NEW"}}`, out: `{"databricks-a":{"type":"api","key":"CLIENT"},"databricks":{"type":"api","key":"CLIENT"}}`},
		{name: "a dummy", in: `{"databricks-a":{"type":"api","key":"x"},"databricks":{"type":"api","key":null}}`, out: `{"databricks-a":{"type":"api","key":"CLIENT"},"databricks":{"type":"api","key":"CLIENT"}}`},
		{name: "no type", in: `{"databricks-a":{"key":"x"},"databricks":{"key":"OWN"}}`, out: `{"databricks-a":{"key":"CLIENT","type":"api"},"databricks":{"key":"OWN","type":"api"}}`},
		{name: "the old form", in: `{"databricks-a":{"api_key":"x"},"databricks":{"type":"api","api_key":"OLD"}}`, out: `{"databricks-a":{"type":"api","key":"CLIENT"},"databricks":{"type":"api","key":"CLIENT"}}`},
		{name: "no key", in: `{"databricks-a":{},"databricks":{"type":"api"}}`, out: `{"databricks-a":{"type":"api","key":"CLIENT"},"databricks":{"type":"api","key":"CLIENT"}}`},
		{name: "a number", in: `{"databricks-a":{"type":"api","key":1},"databricks":{"type":"api","key":"OWN"}}`, out: `{"databricks-a":{"type":"api","key":1},"databricks":{"type":"api","key":"OWN"}}`, left: "the key of databricks-a is no text"},
		{name: "another type", in: `{"databricks-a":{"type":"oauth","access":"x"},"databricks":{"type":"api","key":"OWN"}}`, left: "another type"},
		{name: "missing", in: "{}", out: "{\n  \"databricks\": {\n    \"type\": \"api\",\n    \"key\": \"CLIENT\"\n  },\n  \"databricks-a\": {\n    \"type\": \"api\",\n    \"key\": \"CLIENT\"\n  }\n}"},
		{name: "another profile's", in: `{"databricks-b":{"type":"api","key":"OLD"}` + rest, left: "the proxy of profile \"work\""},
		{name: "a variable", in: `{"databricks-c":{"type":"api","key":"OLD"}` + rest, left: "has a variable"},
		{name: "our workspace", in: `{"databricks-d":{"type":"api","key":"OLD"}` + rest, out: `{"databricks-d":{"type":"api","key":"NEW"}` + rest},
		{name: "our workspace, not ours", in: `{"databricks-d":{"type":"api","key":"x"}` + rest, left: "isn't patrol's"},
		{name: "another provider", in: `{"openai":{"type":"api","key":"sk"}` + rest},
		{name: "nowhere", in: `{"databricks-e":{"type":"api","key":"OLD"}` + rest, out: `{"databricks-e":{"type":"api","key":"NEW"}` + rest},
	})
	o := owner()
	o.ClientKey = nil
	sets(t, openCode{o, true, config}, []row{
		{name: "no client key", in: `{"databricks":{"type":"api","key":"OLD"}}`, left: "the client key for that isn't known"},
		{name: "no client key, no entry", in: `{}`},
	})
}

// TestOpenCodeCreatesBeside: an entry that is missing is made of what belongs there, and
// never beside a base URL that leads past this workspace.
func TestOpenCodeCreatesBeside(t *testing.T) {
	for base, want := range map[string]string{
		"http://localhost:4000/v1":      "CLIENT",
		"HOST/serving-endpoints":        "NEW",
		"https://evil.example/v1":       "",
		"http://localhost:4001/v1":      "",
		"http://localhost:{env:PORT}/x": "",
		"http://localhost:4002/v1":      "",
		"":                              "",
	} {
		r := row{name: base, in: "{}", left: "databricks is missing and wasn't added: "}
		if want != "" {
			r = row{name: base, in: "{}", out: "{\n  \"databricks\": {\n    \"type\": \"api\",\n    \"key\": \"" + want + "\"\n  }\n}"}
		}
		sets(t, openCode{owner(), true, configOf(t, `{"provider":{"databricks":{"options":{"baseURL":"`+base+`"}}}}`)}, []row{r})
	}
}

// TestOpenCodeWithBrokenConfig: while it isn't known where keys go, all are left alone.
func TestOpenCodeWithBrokenConfig(t *testing.T) {
	path := put(t, "opencode.json", "{'provider': OLD}")
	config := readOpenCodeConfig([]string{path})
	sets(t, openCode{owner(), true, config}, []row{
		{name: "our token", in: `{"databricks":{"type":"api","key":"OLD"}}`, left: path + " can't be read: it is not valid JSON at line 1"},
		{name: "nothing", in: "{}", left: "databricks is missing and wasn't added: where it goes isn't known"},
	})
	removes(t, openCode{owner(), true, config}, []row{
		{name: "logout", in: `{"databricks":{"type":"api","key":"OLD"}}`, out: "{}"},
		{name: "logout, a client key", in: `{"databricks":{"type":"api","key":"CLIENT"}}`},
	})
}

// TestOpenCodeOptions: a token of ours in OpenCode's configuration is told of.
func TestOpenCodeOptions(t *testing.T) {
	config := configOf(t, `{"provider":{"databricks":{"options":{"baseURL":"http://localhost:4000","apiKey":"OLD"}}}}`)
	sets(t, openCode{owner(), false, config}, []row{
		{name: "told", in: `{"databricks":{"type":"api","key":"CLIENT"}}`, left: "options.apiKey of databricks in "},
	})
}

func TestOpenCodeConfig(t *testing.T) {
	dir := t.TempDir()
	files := map[string]string{
		"config.json":    `{"provider":{"databricks":{"options":{"baseURL":"first"}},"databricks-x":{"api":"second"}}}`,
		"opencode.json":  "\ufeff{\n  // a \"comment\", and\n  \"provider\": { /* one\n more */ \"databricks\": {\"options\": {\"baseURL\": \"http://a//b\",},},},\n}\n",
		"opencode.jsonc": `{"provider":{"databricks":{"options":{"apiKey":"k"}},"databricks-x":{"api":"third","options":{"baseURL":"fourth"}},"openai":{"options":{"baseURL":"x"}}}}`,
	}
	var paths []string
	for _, name := range slices.Sorted(maps.Keys(files)) {
		paths = append(paths, filepath.Join(dir, name))
		if err := os.WriteFile(paths[len(paths)-1], []byte(files[name]), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c := readOpenCodeConfig(append(paths, filepath.Join(dir, "none")))
	if c.err != nil || len(c.bases) != 2 || c.bases["databricks"].text != "http://a//b" || c.bases["databricks-x"].text != "fourth" || c.apiKeys["databricks"].text != "k" {
		t.Errorf("%+v", c)
	}
	if c := readOpenCodeConfig([]string{put(t, "empty", " \n")}); c.err != nil {
		t.Errorf("an empty file: %v", c.err)
	}
	for _, broken := range []string{"[]", `{"a":1,,}`, `{"a":"`, "{/*", "{} x"} {
		if c := readOpenCodeConfig([]string{put(t, "broken", broken)}); c.err == nil || strings.Contains(c.err.Error(), "comments aren't") {
			t.Errorf("%q: %v", broken, c.err)
		}
	}
}

// TestOpenCodeMadeForProxy: where OpenCode is pointed at our proxy and has no
// credentials yet, they are made: without a key it is let in only where its user can be
// looked up.
func TestOpenCodeMadeForProxy(t *testing.T) {
	config := put(t, "opencode.jsonc", `{"provider":{"databricks":{"options":{"baseURL":"http://localhost:4000/v1"}}}}`)
	path := filepath.Join(t.TempDir(), "opencode", "auth.json")
	f := NewOpenCode(path, []string{config}, false, owner())
	if err := f.Check(); err != nil {
		t.Fatal(err)
	}
	if left, err := f.Write(newToken, nil); left != nil || err != nil {
		t.Fatal(left, err)
	}
	if got := get(t, path); !strings.Contains(got, keyValue) || strings.Contains(got, newValue) {
		t.Errorf("it holds %s", got)
	}
}

// configOf is OpenCode's configuration of this text.
func configOf(t *testing.T, text string) openCodeConfig {
	t.Helper()
	c := readOpenCodeConfig([]string{put(t, "opencode.json", fill(text))})
	if c.err != nil {
		t.Fatal(c.err)
	}
	return c
}
