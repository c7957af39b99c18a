package credwriter

import (
	"bytes"
	"encoding/json"
	"reflect"
	"testing"
)

func TestPlainJSON(t *testing.T) {
	for in, want := range map[string]string{
		``:                         ``,
		`{"a": "//b", "c": "/*"}`:  `{"a": "//b", "c": "/*"}`,
		"// x\n{}":                 "    \n{}",
		"{} // x":                  "{}     ",
		`{/* "a" */"b":1}`:         `{         "b":1}`,
		"{/*\r\n*/}":               "{  \r\n  }",
		`[1,2, ]`:                  `[1,2  ]`,
		`{"a":[1,],}`:              `{"a":[1 ] }`,
		"[1, // x\n]":              "[1      \n]",
		`[1,/**/]`:                 `[1     ]`,
		`["a\",]"]`:                `["a\",]"]`,
		`[1,,]`:                    `[1, ]`,
		`{"a":1,"b":2}`:            `{"a":1,"b":2}`,
		`/* never`:                 `        `,
		`/*/ */1`:                  `      1`,
		`"never`:                   `"never`,
		`"never\`:                  `"never\`,
		"{\"http://x\" : 1} // \"": "{\"http://x\" : 1}     ",
	} {
		if got := string(plainJSON([]byte(in))); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

// FuzzPlainJSON: JSON without comments means the same, and nothing moves.
func FuzzPlainJSON(f *testing.F) {
	for _, text := range []string{"{} // x", `{/* "a" */"b":[1,],}`, `"\"//"`, "[1,\n// x\n]", "//////", "/*/*/*"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		was := bytes.Clone(text)
		got := plainJSON(text)
		if !bytes.Equal(text, was) || len(got) != len(text) {
			t.Fatalf("%q became %q", text, got)
		}
		for i, c := range got {
			if c != text[i] && c != ' ' || text[i] == '\n' && c != '\n' {
				t.Fatalf("%q became %q", text, got)
			}
		}
		var before, after any
		if json.Unmarshal(text, &before) == nil && (json.Unmarshal(got, &after) != nil || !reflect.DeepEqual(before, after)) {
			t.Errorf("%q became %q", text, got)
		}
		if again := plainJSON(got); json.Valid(got) && !bytes.Equal(again, got) {
			t.Errorf("%q, then %q", got, again)
		}
	})
}
