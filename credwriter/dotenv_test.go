package credwriter

import (
	"os/exec"
	"strings"
	"testing"
)

// dotenvEdits are the rows of TestDotenvSet, and what fuzzing starts from.
func dotenvEdits() []row {
	return []row{
		{name: "as people have it", in: "# mine\nOPENAI_API_KEY=sk-real\nTOKEN=OLD\n\nA=b # c\n", out: "# mine\nOPENAI_API_KEY=sk-real\nTOKEN=NEW\n\nA=b # c\n"},
		{name: "export, blanks and a comment", in: "  export TOKEN = OLD  # mine\r\nA=1\r\n", out: "  export TOKEN = NEW  # mine\r\nA=1\r\n"},
		{name: "double quotes", in: "TOKEN=\"OLD\" # c", out: "TOKEN=\"NEW\" # c"},
		{name: "single quotes", in: "TOKEN='OLD'", out: "TOKEN='NEW'"},
		{name: "backticks", in: "TOKEN=`OLD`\n", out: "TOKEN=`NEW`\n"},
		{name: "BOM", in: "\ufeffTOKEN=OLD\n", out: "\ufeffTOKEN=NEW\n"},
		{name: "empty", in: "TOKEN=\nA=1\n", out: "TOKEN=NEW\nA=1\n"},
		{name: "empty, with a comment", in: "TOKEN= # the token\n", out: "TOKEN=NEW # the token\n"},
		{name: "empty quotes", in: "TOKEN=\"\"\n", out: "TOKEN=\"NEW\"\n"},
		{name: "duplicates", in: "TOKEN=OLD\nTOKEN=\n", out: "TOKEN=NEW\nTOKEN=NEW\n"},
		{name: "duplicates, the last another's", in: "TOKEN=OLD\nTOKEN=sk\n", out: "TOKEN=NEW\nTOKEN=sk\n", left: "TOKEN isn't patrol's"},
		{name: "missing", in: "A=1\n", out: "A=1\nTOKEN=NEW\n"},
		{name: "missing, no newline", in: "A=1\r\nB=2", out: "A=1\r\nB=2\r\nTOKEN=NEW\r\n"},
		{name: "missing in nothing", in: "", out: "TOKEN=NEW\n"},
		{name: "in a comment", in: "#TOKEN=OLD\n", out: "#TOKEN=OLD\nTOKEN=NEW\n"},
		{name: "a name that ends alike", in: "MY_TOKEN=sk\nTOKEN_2=sk\n", out: "MY_TOKEN=sk\nTOKEN_2=sk\nTOKEN=NEW\n"},
		{name: "within a value of several lines", in: "KEY=\"a\nTOKEN=OLD\n\"\n", out: "KEY=\"a\nTOKEN=OLD\n\"\nTOKEN=NEW\n"},
		{name: "after a quote that never ends", in: "A='it\nTOKEN=OLD\n", out: "A='it\nTOKEN=NEW\n"},
		{name: "another's", in: "TOKEN=sk-real # c\n", left: "TOKEN isn't patrol's"},
		{name: "ours with a # in it", in: "TOKEN=OLD#c\n", left: "TOKEN isn't patrol's"},
		{name: "ours elsewhere", in: "TOKEN=OLD\nOTHER='OLD'\n", out: "TOKEN=NEW\nOTHER='OLD'\n", left: "OTHER holds one of patrol's tokens"},
		{name: "swallowed by what is added", in: "A=\"\n", out: "A=\"\nTOKEN=NEW\n"},
		{name: "a quote that would take in what is added", in: "A=\"x\nB=y\"z\n", out: "A=\"x\nB=y\"z\nTOKEN=NEW\n"},
		{name: "UTF-16", in: "\xff\xfeT\x00", err: "save it as UTF-8"},
	}
}

func TestDotenvSet(t *testing.T) { sets(t, dotenv{owner(), "TOKEN"}, dotenvEdits()) }

func TestDotenvRemove(t *testing.T) {
	removes(t, dotenv{owner(), "TOKEN"}, []row{
		{name: "as people have it", in: "A=1\r\nTOKEN=OLD\r\nB=2\r\n", out: "A=1\r\nB=2\r\n"},
		{name: "at the end", in: "A=1\nexport TOKEN=\"OLD\"", out: "A=1\n"},
		{name: "a comment", in: "TOKEN='OLD' # mine\nA=1\n", out: "# mine\nA=1\n"},
		{name: "duplicates", in: "TOKEN=OLD\nA=1\nTOKEN=OLD\n", out: "A=1\n"},
		{name: "another's", in: "TOKEN=sk\n", left: "TOKEN isn't one that patrol made"},
		{name: "elsewhere", in: "A=OLD\n", left: "A holds one of patrol's tokens"},
		{name: "nothing", in: "TOKEN=\n"},
	})
}

func TestDotenvValues(t *testing.T) {
	got, err := dotenv{}.Values([]byte("A=1\nB='2'\n#C=3\nexport D=\"4\n5\"\n"))
	if s := strings.Join(got, ","); s != "1,2,4\n5" || err != nil {
		t.Errorf("%q, %v", s, err)
	}
}

// TestShellReadsDotenv: a shell that reads the file gets the token.
func TestShellReadsDotenv(t *testing.T) {
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Skip(err)
	}
	for _, r := range filled(dotenvEdits()) {
		// Blanks around = and backticks aren't a shell's, nor quotes that don't end.
		if r.out == "" || r.left != "" || strings.ContainsAny(r.in, "`\r\ufeff") || strings.Count(r.in, `"`)%2+strings.Count(r.in, "'")%2 > 0 {
			continue
		}
		e, err := dotenv{owner(), "TOKEN"}.Set([]byte(r.in), newValue, nil)
		if err != nil {
			t.Fatal(err)
		}
		path := put(t, ".env", string(e.Text))
		out, err := exec.Command(sh, "-c", `. "$1"; printf %s "$TOKEN"`, "sh", path).CombinedOutput()
		if string(out) != newValue || err != nil {
			t.Errorf("%s: the shell reads %q from %q (%v)", r.name, out, e.Text, err)
		}
	}
}

// FuzzDotenv: an edit changes nothing but the variable, and once made there is
// nothing more to do.
func FuzzDotenv(f *testing.F) {
	for _, r := range filled(dotenvEdits()) {
		f.Add([]byte(r.in))
	}
	format := dotenv{owner(), "TOKEN"}
	f.Fuzz(func(t *testing.T, text []byte) {
		if strings.Contains(string(text), "dapinew") {
			t.Skip()
		}
		e, err := format.Set(text, newValue, nil)
		if err != nil || e.Text == nil {
			return
		}
		if again, err := format.Set(e.Text, newValue, nil); err != nil || string(again.Text) != string(e.Text) {
			t.Errorf("a second edit (%v) makes %q of %q", err, again.Text, e.Text)
		}
		if left := strings.ReplaceAll(string(e.Text), newValue, ""); len(left) < len(text)-len(oldValue)*strings.Count(string(text), oldValue) {
			t.Errorf("%q became %q", text, e.Text)
		}
	})
}
