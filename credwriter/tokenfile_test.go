package credwriter

import "testing"

func TestTokenFileSet(t *testing.T) {
	sets(t, tokenFile{owner()}, []row{
		{name: "ours", in: "OLD\n", out: "NEW\n"},
		{name: "ours, no newline", in: "OLD", out: "NEW\n"},
		{name: "ours, blanks", in: " OLD\r\n\n", out: "NEW\n"},
		{name: "empty", in: "\n", out: "NEW\n"},
		{name: "another's", in: "sk-real\n", left: "what it holds isn't patrol's"},
		{name: "ours, and more", in: "OLD\nOLD\n", left: "what it holds isn't patrol's"},
		{name: "something else", in: "[DEFAULT]\ntoken = OLD\n", left: "what it holds isn't patrol's"},
	})
}

func TestTokenFileRemove(t *testing.T) {
	f := tokenFile{owner()}
	removes(t, f, []row{
		{name: "another's", in: "sk-real\n", left: "isn't a token that patrol made"},
		{name: "nothing", in: "\n"},
	})
	for _, text := range []string{"OLD\n", " OLD"} {
		if e, err := f.Remove([]byte(fill(text)), goneOld); err != nil || e.Text == nil || len(e.Text) > 0 || e.Left != nil {
			t.Errorf("%q: %q, %q, %v", text, e.Text, e.Left, err)
		}
	}
}
