package credwriter

import (
	"path/filepath"
	"testing"
)

// openCodeEdits are the rows of TestOpenCode, and what fuzzing starts from.
func openCodeEdits() []edit {
	return []edit{
		{
			name: "as people have it",
			in:   "{\n  \"openai\": {\n    \"type\": \"api\",\n    \"key\": \"sk-real\"\n  },\n  \"databricks\": {\n    \"type\": \"api\",\n    \"key\": \"OLD\",\n    \"metadata\": {\"a\": 1.0}\n  },\n  \"databricks-anthropic\": {\"key\": \"OLD\", \"type\": \"api\"},\n  \"anthropic\": {\"type\": \"oauth\", \"refresh\": \"r\", \"access\": \"a\", \"expires\": 1e15}\n}",
			out:  "{\n  \"openai\": {\n    \"type\": \"api\",\n    \"key\": \"sk-real\"\n  },\n  \"databricks\": {\n    \"type\": \"api\",\n    \"key\": \"NEW\",\n    \"metadata\": {\"a\": 1.0}\n  },\n  \"databricks-anthropic\": {\"key\": \"NEW\", \"type\": \"api\"},\n  \"anthropic\": {\"type\": \"oauth\", \"refresh\": \"r\", \"access\": \"a\", \"expires\": 1e15}\n}",
		},
		{name: "the old form", in: `{"databricks": {"api_key": "OLD"}}`, out: `{"databricks": {"type": "api", "key": "NEW"}}`},
		{name: "the old form, tight", in: `{"databricks":{"api_key":"OLD"}}`, out: `{"databricks":{"type":"api","key":"NEW"}}`},
		{name: "the old form, laid out", in: "{\n    \"databricks\": {\n        \"api_key\": \"OLD\",\n        \"note\": \"x\"\n    }\n}\n", out: "{\n    \"databricks\": {\n        \"type\": \"api\",\n        \"key\": \"NEW\",\n        \"note\": \"x\"\n    }\n}\n"},
		{name: "the old form with its type", in: `{"databricks":{"type":"api","api_key":"OLD"}}`, out: `{"databricks":{"type":"api","key":"NEW"}}`},
		{name: "the old form, not ours", in: `{"databricks":{"api_key":"dapix"}}`, left: "the key of databricks in "},
		{name: "the old form beside a key", in: `{"databricks":{"api_key":"OLD","key":"x"}}`, left: "isn't patrol's"},
		{name: "not ours", in: `{"databricks":{"type":"api","key":"dapix"}}`, left: "the key of databricks in "},
		{name: "no key", in: `{"databricks":{"type":"api"}}`, left: "has no key"},
		{name: "empty key", in: `{"databricks":{"type":"api","key":""}}`, left: "isn't patrol's"},
		{name: "other types", in: `{"databricks":{"type":"oauth","access":"a"},"databricks-x":{"type":"wellknown","key":"K","token":"T"}}`, left: "databricks-x in "},
		{name: "our token in another type", in: `{"databricks":{"type":"wellknown","key":"OLD","token":"x"}}`, left: "/databricks/key in "},
		{name: "no object", in: `{"databricks":"OLD"}`, left: "databricks in "},
		{name: "our token elsewhere", in: `{"openai":{"type":"api","key":"OLD"}}`, left: "/openai/key in "},
		{name: "duplicates", in: `{"databricks":{"type":"api","key":"OLD"},"databricks":{"type":"api","key":"x","key":"OLD"}}`, out: `{"databricks":{"type":"api","key":"NEW"},"databricks":{"type":"api","key":"x","key":"NEW"}}`},
		{name: "names alike", in: `{"databricksx":{"type":"api","key":"x"},"Databricks":{"type":"api","key":"x"}}`},
		{name: "nothing", in: "{}"},
		{name: "a list", in: "[]", err: "no object"},
		{name: "null", in: "null", err: "no object"},
		{name: "no JSON", in: "{'databricks': OLD}", err: "line 1, column 2"},
	}
}

func TestOpenCode(t *testing.T) {
	for _, e := range openCodeEdits() {
		t.Run(e.name, func(t *testing.T) {
			e.in, e.out = fill(e.in), fill(e.out)
			e.run(t, "auth.json", func(path string) file { return NewOpenCode(path, false, owner()) })
		})
	}
}

func TestOpenCodeCreates(t *testing.T) {
	const entry = "\"databricks\": {\n    \"type\": \"api\",\n    \"key\": \"NEW\"\n  }\n}\n"
	for _, e := range []edit{
		{name: "into nothing", in: "{}\n", out: "{\n  " + entry},
		{name: "beside others", in: "{\n  \"openai\": {\n    \"type\": \"api\",\n    \"key\": \"sk\"\n  }\n}\n", out: "{\n  \"openai\": {\n    \"type\": \"api\",\n    \"key\": \"sk\"\n  },\n  " + entry},
		{name: "with tabs", in: "{\n\t\"a\": {},\n\t\"b\": {}\n}", out: "{\n\t\"a\": {},\n\t\"b\": {},\n\t\"databricks\": {\n\t\t\"type\": \"api\",\n\t\t\"key\": \"NEW\"\n\t}\n}"},
		{name: "tight", in: `{"a":{}}`, out: `{"a":{},"databricks":{"type":"api","key":"NEW"}}`},
		{name: "not over another's", in: `{"databricks":{"type":"api","key":"x"}}`, left: "isn't patrol's"},
	} {
		t.Run(e.name, func(t *testing.T) {
			e.in, e.out = fill(e.in), fill(e.out)
			e.run(t, "auth.json", func(path string) file { return NewOpenCode(path, true, owner()) })
		})
	}
	path := filepath.Join(t.TempDir(), "share", "opencode", "auth.json")
	if left, err := NewOpenCode(path, true, owner()).Write(newToken); err != nil || len(left) > 0 {
		t.Fatal(left, err)
	}
	if got, want := get(t, path), fill("{\n  "+entry); got != want {
		t.Errorf("the file is %q, want %q", got, want)
	}
}
