package credwriter

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"patrol/rotator/pat"
)

// goneOld knows the old token and no other.
func goneOld(hash string) bool { return hash == pat.Hash(oldValue) }

type clearCase struct {
	name    string
	in, out string // out "": the file stays as it is
	left    string // in what was left alone; "" if nothing was
	err     string // in the error; "" for none
}

func (c clearCase) run(t *testing.T, name string, open func(path string) clearer) {
	t.Helper()
	c.in, c.out = fill(c.in), fill(c.out)
	path := put(t, name, c.in)
	want := c.out
	if want == "" {
		want = c.in
	}
	for round := range 2 {
		cleared, left, err := open(path).Clear(goneOld)
		if (err != nil) != (c.err != "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Fatalf("Clear: %v, want %q", err, c.err)
		}
		if cleared != (round == 0 && c.out != "") {
			t.Errorf("round %d: cleared %v", round, cleared)
		}
		said := strings.Join(left, "\n")
		if (c.left == "") != (said == "") || !strings.Contains(said, c.left) || strings.Contains(said, oldValue) {
			t.Errorf("left alone: %q, want %q", said, c.left)
		}
		if got := get(t, path); got != want {
			t.Errorf("round %d: the file is\n%q, want\n%q", round, got, want)
		}
	}
}

type clearer interface {
	Clear(gone func(hash string) bool) (cleared bool, left []string, err error)
}

func TestClearDatabrickscfg(t *testing.T) {
	for _, c := range []clearCase{
		{name: "as people have it", in: "# mine\n[DEFAULT]\nhost = HOST\ntoken = OLD\ncluster_id = c\n\n[x]\ntoken = y\n", out: "# mine\n[DEFAULT]\nhost = HOST\ncluster_id = c\n\n[x]\ntoken = y\n"},
		{name: "CRLF", in: "[DEFAULT]\r\ntoken = OLD\r\nhost = HOST\r\n", out: "[DEFAULT]\r\nhost = HOST\r\n"},
		{name: "no newline at the end", in: "[DEFAULT]\nhost = HOST\ntoken = OLD", out: "[DEFAULT]\nhost = HOST\n"},
		{name: "a comment on the line", in: "[DEFAULT]\nhost = HOST\ntoken = OLD ; mine\n", out: "[DEFAULT]\nhost = HOST\n; mine\n"},
		{name: "quotes and a comment", in: "[DEFAULT]\ntoken = \"OLD\" # mine\n", out: "[DEFAULT]\n# mine\n"},
		{name: "quotes", in: "[DEFAULT]\ntoken = 'OLD'\nhost = HOST\n", out: "[DEFAULT]\nhost = HOST\n"},
		{name: "the only line", in: "token = OLD", out: "\n"},
		{name: "several lines", in: "[DEFAULT]\ntoken = dapi0ld0ld0ld0ld\\\n0ld0ld0ld0ld0ld0ld\nhost = HOST\n", out: "[DEFAULT]\nhost = HOST\n"},
		{name: "below it a line is indented", in: "[DEFAULT]\nhost = HOST\ntoken = OLD\n  cluster_id = c\n", out: "[DEFAULT]\nhost = HOST\ntoken = \n  cluster_id = c\n"},
		{name: "several lines, and one below is indented", in: "[DEFAULT]\ntoken = OLD\\\n\n host = x\n", out: "[DEFAULT]\ntoken = \n host = x\n"},
		{name: "a comment, and below it a line is indented", in: "[DEFAULT]\nhost = HOST\ntoken = \"OLD\" ; mine\n  cluster_id = c\n", out: "[DEFAULT]\nhost = HOST\ntoken = \n  cluster_id = c\n"},
		{name: "other profiles", in: "[DEFAULT]\ntoken = OLD\n[x]\nhost = https://other.example\ntoken = OLD\n[y]\nTOKEN = OLD\na = 1\n", out: "[DEFAULT]\n[x]\nhost = https://other.example\n[y]\na = 1\n"},
		{name: "duplicates", in: "[DEFAULT]\ntoken = OLD\ntoken = other\n", out: "[DEFAULT]\ntoken = other\n", left: "token of profile DEFAULT in "},
		{name: "beside other ways to sign in", in: "[DEFAULT]\nhost = HOST\nclient_id = x\ntoken = OLD\n", out: "[DEFAULT]\nhost = HOST\nclient_id = x\n"},
		{name: "not ours", in: "[DEFAULT]\nhost = HOST\ntoken = dapimine\n", left: "token of profile DEFAULT in "},
		{name: "one of ours that isn't gone", in: "[DEFAULT]\nhost = HOST\ntoken = NEW\n", left: "token of profile DEFAULT in "},
		{name: "another key", in: "[DEFAULT]\nmy_token = OLD\n", left: "my_token of profile DEFAULT"},
		{name: "nothing", in: "[DEFAULT]\nhost = HOST\ntoken =\n"},
		{name: "empty", in: ""},
		{name: "no ini", in: "what\n", err: "line 1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.out == "\n" {
				c.out, c.in = "# x\n", "# x\n"+c.in // put can't tell an empty file from none wanted
			}
			c.run(t, ".databrickscfg", func(path string) clearer { return NewDatabrickscfg(path, "", owner()) })
		})
	}
}

func TestClearClaude(t *testing.T) {
	const token = `"ANTHROPIC_AUTH_TOKEN"`
	for _, c := range []clearCase{
		{name: "last", in: "{\n  \"env\": {\n    \"A\": \"1\",\n    " + token + ": \"OLD\"\n  },\n  \"x\": 1.0\n}\n", out: "{\n  \"env\": {\n    \"A\": \"1\"\n  },\n  \"x\": 1.0\n}\n"},
		{name: "first", in: "{\"env\": {" + token + ": \"OLD\", \"A\": \"1\"}}", out: "{\"env\": {\"A\": \"1\"}}"},
		{name: "between", in: "{\"env\": {\"B\":\"\", " + token + ": \"OLD\", \"A\": \"1\"}}", out: "{\"env\": {\"B\":\"\", \"A\": \"1\"}}"},
		{name: "only", in: "{\"env\": {\n  " + token + ": \"OLD\"\n}}", out: "{\"env\": {}}"},
		{name: "several", in: "{\"env\": {" + token + ": \"OLD\", \"A\": \"1\", " + token + ": \"OLD\", " + token + ":\"OLD\"}}", out: "{\"env\": {\"A\": \"1\"}}"},
		{name: "escaped", in: "{\"env\": {" + token + ": \"\\u0064" + oldValue[1:] + "\"}}", out: "{\"env\": {}}"},
		{name: "not ours", in: "{\"env\": {" + token + ": \"sk-real\"}}", left: "isn't one that patrol made"},
		{name: "elsewhere", in: `{"apiKeyHelper": "OLD"}`, left: "/apiKeyHelper in "},
		{name: "nothing", in: "{}"},
		{name: "env is no object", in: `{"env": "x"}`},
		{name: "no JSON", in: "{", err: "not valid JSON"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.run(t, "settings.json", func(path string) clearer { return NewClaude(path, true, owner()) })
		})
	}
}

func TestClearOpenCode(t *testing.T) {
	for _, c := range []clearCase{
		{name: "beside others", in: "{\n  \"openai\": {\"type\": \"api\", \"key\": \"sk\"},\n  \"databricks\": {\"type\": \"api\", \"key\": \"OLD\"}\n}\n", out: "{\n  \"openai\": {\"type\": \"api\", \"key\": \"sk\"}\n}\n"},
		{name: "two, and the old form", in: `{"databricks":{"type":"api","key":"OLD"},"databricks-x":{"api_key":"OLD"}}`, out: `{}`},
		{name: "not ours", in: `{"databricks":{"type":"api","key":"x"},"databricks-x":{"type":"api","key":"OLD"}}`, out: `{"databricks":{"type":"api","key":"x"}}`, left: "the key of databricks in "},
		{name: "another type", in: `{"databricks":{"type":"wellknown","key":"OLD"}}`, left: "the key of databricks in "},
		{name: "another provider", in: `{"openai":{"type":"api","key":"OLD"}}`, left: "/openai/key in "},
		{name: "no object", in: `{"databricks":null}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.run(t, "auth.json", func(path string) clearer { return NewOpenCode(path, true, owner()) })
		})
	}
}

// TestClearAll: a file that holds nothing but the token is empty afterwards.
func TestClearAll(t *testing.T) {
	path := put(t, ".databrickscfg", "token = "+oldValue+"\n")
	cleared, left, err := NewDatabrickscfg(path, "", owner()).Clear(goneOld)
	if got := get(t, path); !cleared || left != nil || err != nil || got != "" {
		t.Errorf("Clear = %v, %q, %v; the file holds %q", cleared, left, err, got)
	}
}

// TestClearNothing makes no file.
func TestClearNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "no", "file")
	for _, f := range []clearer{NewDatabrickscfg(path, "", owner()), NewClaude(path, true, owner()), NewOpenCode(path, true, owner())} {
		if cleared, left, err := f.Clear(goneOld); cleared || left != nil || err != nil {
			t.Errorf("%T: %v %v %v", f, cleared, left, err)
		}
	}
	if _, err := os.Stat(filepath.Dir(path)); !os.IsNotExist(err) {
		t.Error("a folder was made")
	}
}

// TestLeft tells what Write would, and writes nothing.
func TestLeft(t *testing.T) {
	path := put(t, "auth.json", `{"databricks":{"type":"api","key":"x"}}`)
	f := NewOpenCode(path, false, owner())
	left, err := f.Left()
	if err != nil || len(left) != 1 || !strings.Contains(left[0], "isn't patrol's") {
		t.Errorf("Left: %q, %v", left, err)
	}
	if _, err := NewOpenCode(put(t, "auth.json", "["), false, owner()).Left(); err == nil {
		t.Error("a broken file: no error")
	}
}
