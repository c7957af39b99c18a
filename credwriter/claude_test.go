package credwriter

import (
	"slices"
	"strings"
	"testing"
)

// claudeEdits are the rows of TestClaude, and what fuzzing starts from.
func claudeEdits() []row {
	return []row{
		{
			name: "as people have it",
			in:   "{\n  \"$schema\": \"https://json.schemastore.org/claude-code-settings.json\",\n  \"env\": {\n    \"ANTHROPIC_BASE_URL\": \"HOST/serving-endpoints/anthropic\",\n    \"ANTHROPIC_AUTH_TOKEN\": \"OLD\",\n    \"ANTHROPIC_API_KEY\": \"\"\n  },\n  \"big\": 12345678901234567890, \"huge\": 1e400,\n  \"text\": \"\\u00e9\\/\\ud83d\"\n}\n",
			out:  "{\n  \"$schema\": \"https://json.schemastore.org/claude-code-settings.json\",\n  \"env\": {\n    \"ANTHROPIC_BASE_URL\": \"HOST/serving-endpoints/anthropic\",\n    \"ANTHROPIC_AUTH_TOKEN\": \"NEW\",\n    \"ANTHROPIC_API_KEY\": \"\"\n  },\n  \"big\": 12345678901234567890, \"huge\": 1e400,\n  \"text\": \"\\u00e9\\/\\ud83d\"\n}\n",
		},
		{name: "4 blanks, CRLF, BOM, no final newline", in: "\ufeff{\r\n    \"env\": {\r\n        \"ANTHROPIC_AUTH_TOKEN\": \"OLD\"\r\n    }\r\n}", out: "\ufeff{\r\n    \"env\": {\r\n        \"ANTHROPIC_AUTH_TOKEN\": \"NEW\"\r\n    }\r\n}"},
		{name: "escaped", in: `{"env":{"ANTHROPIC_AUTH_\u0054OKEN":"\u0064` + oldValue[1:] + `"}}`, out: `{"env":{"ANTHROPIC_AUTH_\u0054OKEN":"NEW"}}`},
		{name: "our token beside another base URL", in: `{"env":{"ANTHROPIC_BASE_URL":"https://llm.example","ANTHROPIC_AUTH_TOKEN":"OLD"}}`, out: `{"env":{"ANTHROPIC_BASE_URL":"https://llm.example","ANTHROPIC_AUTH_TOKEN":"NEW"}}`},
		{name: "duplicates", in: `{"env":{"ANTHROPIC_AUTH_TOKEN":"OLD"},"env":{"ANTHROPIC_AUTH_TOKEN":"x","ANTHROPIC_BASE_URL":"https://evil","ANTHROPIC_BASE_URL":"HOST","ANTHROPIC_AUTH_TOKEN":"y"}}`, out: `{"env":{"ANTHROPIC_AUTH_TOKEN":"NEW"},"env":{"ANTHROPIC_AUTH_TOKEN":"x","ANTHROPIC_BASE_URL":"https://evil","ANTHROPIC_BASE_URL":"HOST","ANTHROPIC_AUTH_TOKEN":"NEW"}}`},
		{name: "the base URL that counts is another", in: `{"env":{"ANTHROPIC_BASE_URL":"HOST","ANTHROPIC_BASE_URL":"https://evil","ANTHROPIC_AUTH_TOKEN":"y"}}`, left: "leads to https://evil"},

		// Ours by the base URL.
		{name: "our workspace", in: `{"env":{"ANTHROPIC_BASE_URL":"HOST/ai-gateway/anthropic","ANTHROPIC_AUTH_TOKEN":"dummy"}}`, out: `{"env":{"ANTHROPIC_BASE_URL":"HOST/ai-gateway/anthropic","ANTHROPIC_AUTH_TOKEN":"NEW"}}`},

		// Beside our own proxy's URL: the client key, over whatever stands there.
		{name: "our proxy", in: `{"env":{"ANTHROPIC_AUTH_TOKEN":"dummy","ANTHROPIC_BASE_URL":"http://localhost:4000"}}`, out: `{"env":{"ANTHROPIC_AUTH_TOKEN":"CLIENT","ANTHROPIC_BASE_URL":"http://localhost:4000"}}`},
		{name: "our proxy, over our token", in: `{"env":{"ANTHROPIC_AUTH_TOKEN":"OLD","ANTHROPIC_BASE_URL":"http://127.0.0.1:4000"}}`, out: `{"env":{"ANTHROPIC_AUTH_TOKEN":"CLIENT","ANTHROPIC_BASE_URL":"http://127.0.0.1:4000"}}`},
		{name: "our proxy, over the current token", in: `{"env":{"ANTHROPIC_AUTH_TOKEN":"NEW","ANTHROPIC_BASE_URL":"http://127.0.0.1:4000"}}`, out: `{"env":{"ANTHROPIC_AUTH_TOKEN":"CLIENT","ANTHROPIC_BASE_URL":"http://127.0.0.1:4000"}}`},
		{name: "our proxy, our token everywhere", in: `{"env":{"ANTHROPIC_AUTH_TOKEN":"OLD"},"env":{"ANTHROPIC_API_KEY":"NEW","ANTHROPIC_AUTH_TOKEN":"OLD","ANTHROPIC_BASE_URL":"http://localhost:4000","ANTHROPIC_AUTH_TOKEN":"x"}}`, out: `{"env":{"ANTHROPIC_AUTH_TOKEN":"CLIENT"},"env":{"ANTHROPIC_API_KEY":"CLIENT","ANTHROPIC_AUTH_TOKEN":"CLIENT","ANTHROPIC_BASE_URL":"http://localhost:4000","ANTHROPIC_AUTH_TOKEN":"CLIENT"}}`},
		{name: "our proxy, a user before it", in: `{"env":{"ANTHROPIC_AUTH_TOKEN":"OLD","ANTHROPIC_BASE_URL":"http://x@127.0.0.1:4000"}}`, out: `{"env":{"ANTHROPIC_AUTH_TOKEN":"CLIENT","ANTHROPIC_BASE_URL":"http://x@127.0.0.1:4000"}}`},
		{name: "our proxy, a key of the user's choice", in: `{"env":{"ANTHROPIC_AUTH_TOKEN":"OWN","ANTHROPIC_BASE_URL":"http://127.0.0.1:4000"}}`},
		{name: "our proxy, another's API key", in: `{"env":{"ANTHROPIC_API_KEY":"sk","ANTHROPIC_AUTH_TOKEN":"OLD","ANTHROPIC_BASE_URL":"http://127.0.0.1:4000"}}`, out: `{"env":{"ANTHROPIC_API_KEY":"sk","ANTHROPIC_AUTH_TOKEN":"CLIENT","ANTHROPIC_BASE_URL":"http://127.0.0.1:4000"}}`},
		{name: "our proxy, our token in a header", in: `{"env":{"ANTHROPIC_CUSTOM_HEADERS":"OLD","ANTHROPIC_AUTH_TOKEN":"x","ANTHROPIC_BASE_URL":"http://127.0.0.1:4000"}}`, out: `{"env":{"ANTHROPIC_CUSTOM_HEADERS":"OLD","ANTHROPIC_AUTH_TOKEN":"CLIENT","ANTHROPIC_BASE_URL":"http://127.0.0.1:4000"}}`, left: "/env/ANTHROPIC_CUSTOM_HEADERS"},
		{name: "null", in: `{"env":{"ANTHROPIC_AUTH_TOKEN":null,"ANTHROPIC_BASE_URL":"http://[::1]:4000/"}}`, out: `{"env":{"ANTHROPIC_AUTH_TOKEN":"CLIENT","ANTHROPIC_BASE_URL":"http://[::1]:4000/"}}`},
		{name: "our proxy, a number", in: `{"env":{"ANTHROPIC_AUTH_TOKEN":1,"ANTHROPIC_BASE_URL":"http://[::1]:4000/"}}`, left: "is no text"},
		{name: "missing", in: "{\n\t\"env\": {\n\t\t\"ANTHROPIC_BASE_URL\": \"http://127.0.0.1:4000\"\n\t}\n}\n", out: "{\n\t\"env\": {\n\t\t\"ANTHROPIC_BASE_URL\": \"http://127.0.0.1:4000\",\n\t\t\"ANTHROPIC_AUTH_TOKEN\": \"CLIENT\"\n\t}\n}\n"},

		// Beside another profile's: what its service puts there.
		{name: "another profile's proxy", in: `{"env":{"ANTHROPIC_BASE_URL":"http://localhost:4001","ANTHROPIC_AUTH_TOKEN":"OLD"}}`, left: "the proxy of profile \"work\""},
		{name: "another profile's proxy, another's key", in: `{"env":{"ANTHROPIC_BASE_URL":"http://localhost:4001","ANTHROPIC_AUTH_TOKEN":"x"}}`, left: "the proxy of profile \"work\""},
		{name: "another profile's proxy, nothing", in: `{"env":{"ANTHROPIC_BASE_URL":"http://localhost:4001"}}`},
		{name: "no text as a base URL", in: `{"env":{"ANTHROPIC_BASE_URL":["http://127.0.0.1:4000"],"ANTHROPIC_AUTH_TOKEN":"OLD"}}`, left: "is no URL"},
		{name: "nobody's proxy, our token twice", in: `{"env":{"ANTHROPIC_AUTH_TOKEN":"OLD"},"env":{"ANTHROPIC_BASE_URL":"http://127.1:4000","ANTHROPIC_AUTH_TOKEN":"OLD","ANTHROPIC_API_KEY":"OLD"}}`, left: "/env/ANTHROPIC_API_KEY"},
		{name: "nobody's proxy", in: `{"env":{"ANTHROPIC_BASE_URL":"http://localhost:4002","ANTHROPIC_AUTH_TOKEN":"CLIENT"}}`, left: "leads to http://localhost:4002"},

		{name: "missing, on one line", in: `{ "env": { "A": "b", "ANTHROPIC_BASE_URL": "HOST" } }`, out: `{ "env": { "A": "b", "ANTHROPIC_BASE_URL": "HOST", "ANTHROPIC_AUTH_TOKEN": "NEW" } }`},
		{name: "missing, tight", in: `{"env":{"ANTHROPIC_BASE_URL":"HOST"}}`, out: `{"env":{"ANTHROPIC_BASE_URL":"HOST","ANTHROPIC_AUTH_TOKEN":"NEW"}}`},

		// Not ours.
		{name: "no env", in: `{"model":"opus"}`},
		{name: "no base URL, no token", in: `{"env":{"A":"b"}}`},
		{name: "another base URL, no token", in: `{"env":{"ANTHROPIC_BASE_URL":"https://evil"}}`},
		{name: "no base URL", in: `{"env":{"ANTHROPIC_AUTH_TOKEN":"sk-ant-real"}}`, left: "ANTHROPIC_BASE_URL beside it is missing"},
		{name: "another base URL", in: `{"env":{"ANTHROPIC_BASE_URL":"https://u:p@HOSTNAME.evil.com/x?y","ANTHROPIC_AUTH_TOKEN":"sk"}}`, left: "is no URL"},
		{name: "a prefix of ours", in: `{"env":{"ANTHROPIC_BASE_URL":"HOST.evil.com","ANTHROPIC_AUTH_TOKEN":"sk"}}`, left: "leads to HOST.evil.com"},
		{name: "a number", in: `{"env":{"ANTHROPIC_BASE_URL":"HOST","ANTHROPIC_AUTH_TOKEN":12}}`, left: "isn't patrol's"},
		{name: "our token as an API key", in: `{"env":{"ANTHROPIC_AUTH_TOKEN":"OLD","ANTHROPIC_API_KEY":"OLD"},"a/b":[{"c":"OLD"}]}`, out: `{"env":{"ANTHROPIC_AUTH_TOKEN":"NEW","ANTHROPIC_API_KEY":"OLD"},"a/b":[{"c":"OLD"}]}`, left: "/env/ANTHROPIC_API_KEY"},

		// No settings.
		{name: "a list", in: "[]", err: "no object"},
		{name: "null file", in: "null\n", err: "no object"},
		{name: "empty", in: " \n", err: "is empty"},
		{name: "env is null", in: `{"env":null}`, err: "env is no object"},
		{name: "env is a list", in: `{"env":[]}`, err: "env is no object"},
		{name: "a comment", in: "{\n  // OLD\n}", err: "line 2, column 3 (comments aren't; it is ignored"},
		{name: "a trailing comma", in: "{\"env\":{\"ANTHROPIC_AUTH_TOKEN\":\"OLD\",}}", err: "not valid JSON"},
		{name: "cut", in: "{\"env\":{\"ANTHROPIC_AUTH_TOKEN\":\"OLD", err: "not valid JSON"},
		{name: "no quotes", in: `{"env":{"ANTHROPIC_AUTH_TOKEN":OLD}}`, err: "line 1, column 32"},
		{name: "two values", in: `{"env":{}}{}`, err: "more than one"},
		{name: "more after it", in: `{"env":{}} OLD`, err: "not valid JSON"},
		{name: "invalid UTF-8", in: "{\"env\":{\"A\":\"\xff\"}}", err: "UTF-8"},
		{name: "too deep", in: strings.Repeat(`{"a":`, 20000), err: "not valid JSON"},
	}
}

func TestClaudeSet(t *testing.T) { sets(t, claude{owner: owner()}, claudeEdits()) }

func TestClaudeCreates(t *testing.T) {
	const both = "\"ANTHROPIC_BASE_URL\": \"http://127.0.0.1:4000\",\n    \"ANTHROPIC_AUTH_TOKEN\": \"CLIENT\"\n  }\n}\n"
	sets(t, claude{owner(), true}, []row{
		{name: "into nothing", in: "{}\n", out: "{\n  \"env\": {\n    " + both},
		{name: "into settings", in: "{\n  \"model\": \"opus\"\n}\n", out: "{\n  \"model\": \"opus\",\n  \"env\": {\n    " + both},
		{name: "into an empty env", in: "{\n  \"env\": {}\n}\n", out: "{\n  \"env\": {\n    " + both},
		{name: "into an env", in: "{\n  \"env\": {\n    \"A\": \"b\"\n  }\n}\n", out: "{\n  \"env\": {\n    \"A\": \"b\",\n    " + both},
		{name: "on one line", in: `{"a": 1}`, out: `{"a": 1, "env": {"ANTHROPIC_BASE_URL": "http://127.0.0.1:4000", "ANTHROPIC_AUTH_TOKEN": "CLIENT"}}`},
		{name: "tight", in: `{"a":1}`, out: `{"a":1,"env":{"ANTHROPIC_BASE_URL":"http://127.0.0.1:4000","ANTHROPIC_AUTH_TOKEN":"CLIENT"}}`},
		{name: "not beside another base URL", in: `{"env":{"ANTHROPIC_BASE_URL":"https://x.example"}}`, left: "leads to https://x.example"},
		{name: "not over another's token", in: `{"env":{"ANTHROPIC_AUTH_TOKEN":"sk"}}`, left: "isn't patrol's"},
	})
	o := owner()
	o.ProxyURL = ""
	if e, err := (claude{o, true}).Set([]byte("{}"), newValue, nil); err != nil || e.Text != nil || len(e.Left) != 1 {
		t.Errorf("without a proxy: %q, %q, %v", e.Text, e.Left, err)
	}
}

// TestClaudeWithoutKey: while the client key isn't known, what stands beside our
// proxy's URL is left alone, and nothing is put there.
func TestClaudeWithoutKey(t *testing.T) {
	o := owner()
	o.ClientKey = nil
	sets(t, claude{o, true}, []row{
		{name: "our token", in: `{"env":{"ANTHROPIC_BASE_URL":"http://localhost:4000","ANTHROPIC_AUTH_TOKEN":"OLD"}}`, left: "the client key for it isn't known"},
		{name: "nothing", in: `{"env":{"ANTHROPIC_BASE_URL":"http://localhost:4000"}}`},
		{name: "no base URL", in: `{"env":{}}`, left: "is missing and wasn't added"},
	})
}

func TestClaudeRemove(t *testing.T) {
	const token = `"ANTHROPIC_AUTH_TOKEN"`
	removes(t, claude{owner: owner()}, []row{
		{name: "last", in: "{\n  \"env\": {\n    \"A\": \"1\",\n    " + token + ": \"OLD\"\n  },\n  \"x\": 1.0\n}\n", out: "{\n  \"env\": {\n    \"A\": \"1\"\n  },\n  \"x\": 1.0\n}\n"},
		{name: "first", in: "{\"env\": {" + token + ": \"OLD\", \"A\": \"1\"}}", out: "{\"env\": {\"A\": \"1\"}}"},
		{name: "between", in: "{\"env\": {\"B\":\"\", " + token + ": \"OLD\", \"A\": \"1\"}}", out: "{\"env\": {\"B\":\"\", \"A\": \"1\"}}"},
		{name: "only", in: "{\"env\": {\n  " + token + ": \"OLD\"\n}}", out: "{\"env\": {}}"},
		{name: "several", in: "{\"env\": {" + token + ": \"OLD\", \"A\": \"1\", " + token + ": \"OLD\", " + token + ":\"OLD\"}}", out: "{\"env\": {\"A\": \"1\"}}"},
		{name: "escaped", in: "{\"env\": {" + token + ": \"\\u0064" + oldValue[1:] + "\"}}", out: "{\"env\": {}}"},
		{name: "not ours", in: "{\"env\": {" + token + ": \"sk-real\"}}", left: "isn't one that patrol made"},
		{name: "a client key stays", in: `{"env": {"ANTHROPIC_BASE_URL":"http://localhost:4000","ANTHROPIC_AUTH_TOKEN":"CLIENT"}}`},
		{name: "our token beside our proxy", in: `{"env": {"ANTHROPIC_BASE_URL":"http://localhost:4000","ANTHROPIC_AUTH_TOKEN":"OLD"}}`, out: `{"env": {"ANTHROPIC_BASE_URL":"http://localhost:4000"}}`},
		{name: "elsewhere", in: `{"apiKeyHelper": "OLD"}`, left: "/apiKeyHelper"},
		{name: "nothing", in: "{}"},
		{name: "env is no object", in: `{"env": "x"}`},
		{name: "no JSON", in: "{", err: "not valid JSON"},
	})
}

func TestJSONValues(t *testing.T) {
	for _, f := range []Format{claude{}, openCode{}} {
		got, err := f.Values([]byte(`{"OLD":"a","env":{"X":"\u0062"},"env":{"Y":["c",{"d":"e"}]}}`))
		if want := []string{"a", "b", "c", "e"}; !slices.Equal(got, want) || err != nil {
			t.Errorf("%T: %q, %v; want %q", f, got, err, want)
		}
		if _, err := f.Values([]byte("[]")); err == nil {
			t.Errorf("%T: what can't be read holds nothing?", f)
		}
	}
}
