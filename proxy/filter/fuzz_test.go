package filter

import (
	"bytes"
	"encoding/json"
	"reflect"
	"testing"
)

// filterOnce filters a request, and checks what holds for every request.
func filterOnce(t *testing.T, api API, model string, in []byte) []byte {
	t.Helper()
	before := bytes.Clone(in)
	out, _ := Request(api, model, nil, in, nil)
	if !bytes.Equal(before, in) {
		t.Fatal("the body itself has changed")
	}
	if json.Valid(in) && !json.Valid(out) {
		t.Fatalf("it came in valid and goes out as\n%q", out)
	}
	if changed := !bytes.Equal(in, out); changed {
		var d document
		if !d.parse(in) || !d.stringsValid() {
			t.Fatalf("it was no JSON and goes out as\n%q", out)
		}
	}
	if again, _ := Request(api, model, nil, out, nil); !bytes.Equal(again, out) {
		t.Fatalf("filtered twice it is\n%s\nnot\n%s", again, out)
	}
	return out
}

// FuzzRequest filters any bytes.
func FuzzRequest(f *testing.F) {
	f.Add(uint8(1), "", []byte(chat(hi)))
	f.Add(uint8(2), "gemini", []byte(`{"system":"","tools":[{"input_schema":{"$ref":"#","pattern":""}}]}`))
	f.Add(uint8(3), "gemini", []byte(`{"contents":[{"parts":[{"functionCall":{"id":1}}]}]}`))
	f.Fuzz(func(t *testing.T, api uint8, model string, in []byte) {
		filterOnce(t, API(api), model, in)
	})
}

// FuzzMessages makes conversations. What becomes of them must be what the reference
// makes of them, and what the model families accept.
func FuzzMessages(f *testing.F) {
	for seed := range uint64(8) {
		f.Add(randomGenerator(seed).data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, fam := range families {
			checkConversation(t, fam, &generator{data})
		}
	})
}

// checkConversation filters a conversation, and reports whether the family accepts
// it before and after.
func checkConversation(t *testing.T, fam family, g *generator) (before, after bool) {
	t.Helper()
	in := []byte(g.request(fam.api, fam.model))
	out := filterOnce(t, fam.api, "", in)
	var want, got map[string]any
	if err := json.Unmarshal(in, &want); err != nil {
		t.Fatalf("%v: %s", err, in)
	}
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(in, []byte(`"content":"","content"`)) { // the reference can't see a key that stands twice
		wanted := refMessages(want["messages"].([]any))
		if wanted == nil { // it stays as it was
			if err := json.Unmarshal(in, &want); err != nil {
				t.Fatal(err)
			}
			wanted = want["messages"].([]any)
		}
		if !reflect.DeepEqual(got["messages"], any(wanted)) {
			w, _ := json.Marshal(wanted)
			m, _ := json.Marshal(got["messages"])
			t.Fatalf("in  %s\ngot  %s\nwant %s", in, m, w)
		}
	}
	var whole map[string]any
	if err := json.Unmarshal(in, &whole); err != nil {
		t.Fatal(err)
	}
	if reflect.DeepEqual(whole, got) && !bytes.Equal(in, out) {
		t.Fatalf("it was clean\n%s\nand became\n%s", in, out)
	}
	var another map[string]any
	if err := json.Unmarshal(filterOnce(t, fam.api, "", []byte(escaped(string(in)))), &another); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(another, got) {
		t.Fatalf("written with escapes\n%s\nbecame\n%v\nand not\n%v", in, another, got)
	}
	errBefore, errAfter := fam.validate(in), fam.validate(out)
	if errBefore == nil && errAfter != nil {
		t.Fatalf("%s accepts\n%s\nbut not (%v)\n%s", fam.model, in, errAfter, out)
	}
	return errBefore == nil, errAfter == nil
}

// TestAcceptedStaysAccepted: what a model family accepts it still accepts after the
// filter. There must be enough such requests, and enough of those that only the
// filter makes acceptable.
func TestAcceptedStaysAccepted(t *testing.T) {
	const seeds = 150
	for _, fam := range families {
		accepted, mended := 0, 0
		for seed := range uint64(seeds) {
			before, after := checkConversation(t, fam, randomGenerator(seed))
			if before {
				accepted++
			} else if after {
				mended++
			}
		}
		t.Logf("%s: accepted %d, mended %d of %d", fam.model, accepted, mended, seeds)
		if accepted < seeds/30 || mended < seeds/30 {
			t.Errorf("%s: accepted %d, mended %d of %d: too few to tell", fam.model, accepted, mended, seeds)
		}
	}
}

// FuzzSchema makes schemas. After the filter Gemini takes them.
func FuzzSchema(f *testing.F) {
	for seed := range uint64(8) {
		f.Add(randomGenerator(seed).data)
	}
	f.Fuzz(func(t *testing.T, data []byte) { checkSchema(t, &generator{data}) })
}

func TestGeneratedSchemas(t *testing.T) {
	for seed := range uint64(1000) {
		checkSchema(t, randomGenerator(seed))
	}
}

func checkSchema(t *testing.T, g *generator) {
	t.Helper()
	in := []byte(`{"model":"gemini","tools":[{"function":{"parameters":` + g.schema(4) + `}}]}`)
	out := filterOnce(t, ChatCompletions, "", in)
	var req struct {
		Tools []struct {
			Function struct{ Parameters map[string]any }
		}
	}
	if err := json.Unmarshal(out, &req); err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(in, []byte("$defs/C")) || bytes.Contains(in, []byte(`"#/$defs`)) && !bytes.Contains(in, []byte(`"$defs":{`)) {
		return // a reference that leads nowhere stays
	}
	schema := dropExtraMembers(req.Tools[0].Function.Parameters)
	if err := checkGeminiSchema(schema); err != nil {
		t.Fatalf("%v\nin  %s\nout %s", err, in, out)
	}
}

// dropExtraMembers removes the members that generator.object adds to any object.
func dropExtraMembers(v map[string]any) map[string]any {
	for key, m := range v {
		switch key {
		case "cache_control", "name", "x":
			delete(v, key)
		case "items":
			if sub, ok := m.(map[string]any); ok {
				dropExtraMembers(sub)
			}
		case "anyOf":
			for _, s := range m.([]any) {
				dropExtraMembers(s.(map[string]any))
			}
		case "properties":
			for _, s := range m.(map[string]any) {
				dropExtraMembers(s.(map[string]any))
			}
		}
	}
	return v
}
