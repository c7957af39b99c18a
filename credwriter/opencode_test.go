package credwriter

import "testing"

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
	sets(t, openCode{owner(), true}, []row{
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
