package filter

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

// jsonTexts are JSON texts, valid and not, that a scanner may trip over.
var jsonTexts = []string{
	``, ` `, `null`, `nul`, `nulll`, `true`, `false`, ` true `, `tru`, `0`, `-0`, `00`, `01`, `-`, `-1`, `+1`, `1.`, `.5`, `1.5`, `1e`, `1e5`, `1E+5`, `1e-`, `1e-07`,
	`1 2`, `""`, `"`, `"a`, `"\`, `"\"`, `"\x"`, `"\u12"`, `"\u12g4"`, `"\u12aF"`, `"\ud800"`, `"\ud83d\ude00"`, "\"\x00\"", "\"\x1f\"", "\"\x7f\"", "\"\xff\xfe\"",
	"\"\u2028\"", "\"a\nb\"", `"1234567"`, `"12345678"`, `"1234567\n9"`, `"12345678\"abcdefgh"`, "\"12345678\x01\"", "\"\xc0\xa0\xe0\xa2\xdc\x9f\x9f\x20\"",
	`[]`, `[`, `]`, `[]]`, `[1]`, `[1,]`, `[,1]`, `[1 2]`, `[1,2]`, ` [ 1 , 2 ] `, `[[[]]]`, `[[[]]`,
	`{}`, `{`, `{"a"}`, `{"a":}`, `{"a":1}`, `{"a":1,}`, `{"a":1,"a":2}`, `{a:1}`, `{"a" : [ { } ] }`, `{"a":1 "b":2}`, `{"":""}`, `{1:2}`,
	"\ufeff{}", "{\"a\":\t1}", "{\"a\":\v1}", `[true,false,null]`, `{"a":{"b":{"c":[1,{"d":2}]}}}`,
}

func TestParseAgreesWithEncodingJSON(t *testing.T) {
	for _, text := range jsonTexts {
		var d document
		got := d.parse([]byte(text)) && d.stringsValid() && !hasBadEscape(&d)
		if want := json.Valid([]byte(text)); got != want {
			t.Errorf("parse(%q) = %v, encoding/json says %v", text, got, want)
		}
	}
}

func TestControls(t *testing.T) {
	for _, fill := range []byte{' ', 'a', 0x7f, 0x80, 0x9f, 0xa0, 0xff} {
		s := bytes.Repeat([]byte{fill}, 200)
		for at := range s {
			for c := range 256 {
				s[at] = byte(c)
				if got := hasControl(s); got != (c < ' ') {
					t.Fatalf("%#x at %d among %#x: %v", c, at, fill, got)
				}
			}
			s[at] = fill
		}
	}
}

func TestParseBounds(t *testing.T) {
	var d document
	for depth, want := range map[int]bool{maxDepth: true, maxDepth + 2: false, 1 << 20: false} {
		if got := d.parse([]byte(strings.Repeat("[", depth) + strings.Repeat("]", depth))); got != want {
			t.Errorf("a depth of %d: %v", depth, got)
		}
	}
	if many := "[" + strings.Repeat("1,", maxNodes) + "1]"; d.parse([]byte(many)) {
		t.Errorf("%d nodes are read, the bound is %d", len(d.nodes), maxNodes)
	}
}

// FuzzParse checks the scanner against encoding/json: the same texts are valid,
// and the nodes have the same values in them.
func FuzzParse(f *testing.F) {
	for _, text := range jsonTexts {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		var d document
		ok := d.parse(src) && d.stringsValid() && !hasBadEscape(&d)
		if ok != json.Valid(src) && !tooDeep(src) {
			t.Fatalf("parse = %v, encoding/json says %v", ok, !ok)
		}
		if !ok {
			return
		}
		var want any
		dec := json.NewDecoder(bytes.NewReader(src))
		dec.UseNumber()
		if err := dec.Decode(&want); err != nil {
			t.Fatal(err)
		}
		sameValue(t, &d, root, want)
	})
}

// hasBadEscape reports whether a string has an invalid escape in it, the one fault
// that parse and stringsValid don't find.
func hasBadEscape(d *document) bool {
	for n := range d.nodes {
		if d.kind(n) == str && !isValidString(d.inner(n)) {
			return true
		}
	}
	return false
}

func tooDeep(src []byte) bool {
	return bytes.Count(src, []byte("["))+bytes.Count(src, []byte("{")) > maxDepth
}

// sameValue fails unless node n has the value that encoding/json read.
func sameValue(t *testing.T, d *document, n int, want any) {
	t.Helper()
	bad := func() { t.Fatalf("node %d, %q: want %#v", n, d.raw(n), want) }
	switch want := want.(type) {
	case nil:
		if d.kind(n) != null {
			bad()
		}
	case bool:
		if d.kind(n) != boolean || want != (string(d.raw(n)) == "true") {
			bad()
		}
	case json.Number:
		if d.kind(n) != number || string(d.raw(n)) != want.String() {
			bad()
		}
	case string:
		// encoding/json makes U+FFFD of what isn't UTF-8; so does appendQuoted's
		// output once it is decoded.
		var got string
		if err := json.Unmarshal(appendQuoted(nil, d.stringValue(n)), &got); err != nil || d.kind(n) != str || got != want {
			bad()
		}
	case []any:
		i := 0
		for e := range d.elements(n) {
			sameValue(t, d, e, want[i])
			i++
		}
		if d.kind(n) != array || i != len(want) {
			bad()
		}
	case map[string]any:
		last := map[string]int{} // encoding/json keeps the last of a key
		for k, v := range d.members(n) {
			var key string
			if err := json.Unmarshal(appendQuoted(nil, d.stringValue(k)), &key); err != nil {
				t.Fatal(err)
			}
			last[key] = v
		}
		if d.kind(n) != object || len(last) != len(want) {
			bad()
		}
		for key, v := range last {
			sameValue(t, d, v, want[key])
		}
	}
}

func TestText(t *testing.T) {
	for raw, want := range map[string]string{
		`"a"`:                        "a",
		`"\"\\\/\b\f\n\r\t"`:         "\"\\/\b\f\n\r\t",
		`"\u0041\u00e9\u2028\u0000"`: "A\u00e9\u2028\x00",
		`"\ud83d\ude00"`:             "\U0001f600",
		`"\ud83d"`:                   "\xed\xa0\xbd",
		`"\ude00\ud83d"`:             "\xed\xb8\x80\xed\xa0\xbd",
		`"\ud83dx\ude00"`:            "\xed\xa0\xbdx\xed\xb8\x80",
		`"\ud83d\n"`:                 "\xed\xa0\xbd\n",
		"\"\xff\"":                   "\xff",
	} {
		got := appendUnescaped(nil, []byte(raw[1:len(raw)-1]))
		if string(got) != want {
			t.Errorf("%s is %q, want %q", raw, got, want)
		}
		again := appendQuoted(nil, got)
		var d document
		if !d.parse(again) || string(d.stringValue(root)) != want {
			t.Errorf("%s came back as %s", raw, again)
		}
	}
	// The halves of a pair that was cut in two come together again.
	got := string(appendQuoted(nil, []byte("\xed\xa0\xbd\xed\xb8\x80")))
	if got != `"\ud83d\ude00"` {
		t.Errorf("the halves became %s", got)
	}
}

func TestBlankText(t *testing.T) {
	for _, s := range []string{``, ` `, `\n\t\r\f`, `\u0020\u00A0\u3000`, "\u00a0\u2003\u2028\u3000", `  \u2029  `} {
		if !isBlankText([]byte(s)) {
			t.Errorf("%q isn't blank", s)
		}
	}
	for _, s := range []string{`.`, ` a`, `\\`, `\u200b`, `\u0000`, `\b`, `\"`, "\xff", "\u200b", `\ud83d\ude00`} {
		if isBlankText([]byte(s)) {
			t.Errorf("%q is blank", s)
		}
	}
}
