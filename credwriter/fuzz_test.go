package credwriter

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

	"gopkg.in/ini.v1"

	"patrol/rotator/pat"
)

// FuzzINI edits any text as .databrickscfg. If the edit is made, ini.v1 and
// Python's configparser read the same values as before, but for the token.
func FuzzINI(f *testing.F) {
	for _, e := range databrickscfgEdits() {
		f.Add([]byte(fill(e.in)), "DEFAULT")
		f.Add([]byte(fill(e.in)), "x")
	}
	python := startPython(f)
	f.Fuzz(func(t *testing.T, text []byte, profile string) { checkEdit(t, python, text, profile) })
}

// fragments are what files are made of, and what breaks them.
var fragments = strings.Split(fill("\n|\n|\r\n|\r| |\t|=|:|\\|`|'|\"|\"\"\"|#| ;|[|]|-|\ufeff|\x00|\x1c|\u2028|\xff|"+
	"[DEFAULT]|[x]|[x.y]|[__settings__]|default_profile = x|host = HOST|host|HOST|https://other|token = OLD|token = x|token|Token|OLD|a = b|client_id = c|auth_type = pat"), "|")

// FuzzINIFragments does the same with texts that are put together from what
// ini files are made of: byte by byte these are hard to hit.
func FuzzINIFragments(f *testing.F) {
	for i := range fragments {
		f.Add([]byte{24, 0, 29, 0, 33, 0, byte(i), byte(i / 2), 0, byte(i * 7)}, i%2 == 0)
	}
	python := startPython(f)
	f.Fuzz(func(t *testing.T, choices []byte, other bool) {
		var text []byte
		for _, c := range choices[:min(len(choices), 60)] {
			text = append(text, fragments[int(c)%len(fragments)]...)
		}
		checkEdit(t, python, text, map[bool]string{true: "x", false: "DEFAULT"}[other])
	})
}

// checkEdit checks all that must hold of an edit of a text.
func checkEdit(t *testing.T, python *python, text []byte, profile string) {
	t.Helper()
	if bytes.Contains(text, []byte(newValue)) {
		t.Skip()
	}
	format := databrickscfg{owner(), profile}
	was := bytes.Clone(text)
	got, err := format.Set(text, newValue, nil)
	if !bytes.Equal(text, was) {
		t.Fatal("the edit changed its input")
	}
	if err != nil {
		if strings.Contains(err.Error(), oldValue) {
			t.Fatalf("a token is in the error: %v", err)
		}
		return
	}
	if second, err := format.Set(got.Text, newValue, nil); err != nil || !bytes.Equal(second.Text, got.Text) {
		t.Errorf("a second edit (%v) makes %q of %q", err, second.Text, got.Text)
	}
	if profile == "" {
		profile, _ = pickProfile(iniValues(t, text), "")
	}
	d := checkINI(t, text, got.Text, profile)
	checkBytes(t, text, got.Text, d)
	checkPython(t, python, text, got.Text, profile, d)
}

func iniValues(t *testing.T, text []byte) values {
	t.Helper()
	file, err := ini.LoadSources(ini.LoadOptions{SpaceBeforeInlineComment: true}, text)
	if err != nil {
		t.Fatalf("ini.v1: %v", err)
	}
	all := values{}
	for _, s := range file.Sections() {
		all[s.Name()] = s.KeysHash()
	}
	return all
}

// difference is what an edit changed of what ini.v1 reads.
type difference struct {
	replaced []string // the values that were
	added    []string // keys of the profile that were not there
}

// checkINI checks what ini.v1 reads.
func checkINI(t *testing.T, before, after []byte, profile string) (d difference) {
	t.Helper()
	was, is := iniValues(t, before), iniValues(t, after)
	if is[profile]["token"] != newValue || !sameHost(is[profile]["host"]) {
		t.Errorf("profile %q of %q: host %q, token %q", profile, after, is[profile]["host"], is[profile]["token"])
	}
	for section, keys := range is {
		for key, value := range keys {
			old, had := was[section][key]
			switch {
			case had && value == old:
				continue
			case section == profile && key == "host" && old == "":
			case section == profile && key == "token":
			case had && strings.EqualFold(key, "token") && owner().ours(old) && value == newValue:
			default:
				t.Errorf("%s of %s was %q and is %q", key, section, old, value)
			}
			if !had {
				d.added = append(d.added, key)
			}
			d.replaced = append(d.replaced, old)
		}
	}
	for section, keys := range was {
		for key := range keys {
			if _, has := is[section][key]; !has {
				t.Errorf("%s of %s is gone", key, section)
			}
		}
	}
	return d
}

// checkBytes checks that nothing but values went, and nothing but the token
// came.
func checkBytes(t *testing.T, before, after []byte, d difference) {
	t.Helper()
	hosts := bytes.Count(after, []byte(host)) - bytes.Count(before, []byte(host))
	if len(d.added) > 0 || slices.Contains(d.replaced, "") || hosts > 0 { // or a blank before a value
		return
	}
	rest := before
	for i, part := range bytes.Split(after, []byte(newValue)) {
		at := bytes.Index(rest, part)
		if i == 0 && at != 0 || at < 0 {
			t.Errorf("%q became %q", before, after)
			return
		}
		rest = rest[at+len(part):]
	}
}

// checkPython checks what Python reads, if it reads the file at all.
func checkPython(t *testing.T, p *python, before, after []byte, profile string, d difference) {
	t.Helper()
	was, ok := p.read(t, before)
	if !ok {
		return
	}
	is, ok := p.read(t, after)
	if !ok {
		t.Errorf("Python read %q and doesn't read %q", before, after)
		return
	}
	for section, keys := range was {
		for key, old := range keys {
			value, has := is[section][key]
			// Where Python takes a line for a part of another value, the token
			// changes in that.
			back := d.undoes(value, old, section == profile && key == "token")
			// An empty value loses its quotes, which Python reads as a part of it.
			filled := section == profile && strings.Trim(old, "`'\"") == "" && (key == "host" && value == host || key == "token" && value == newValue)
			if !has || value != old && !back && !filled {
				t.Errorf("Python read %q for %s of %s, and now %q", old, key, section, value)
			}
		}
	}
	for section, keys := range is {
		for key, value := range keys {
			if _, had := was[section][key]; !had && (section != profile || value != newValue && value != host) {
				t.Errorf("Python now reads %q for %s of %s", value, key, section)
			}
		}
	}
	for _, key := range d.added {
		if value := is[profile][key]; value != newValue && value != host {
			t.Errorf("Python reads %q for %s of %s from %q", value, key, profile, after)
		}
	}
}

// undoes reports whether old becomes value if some of what was replaced is, or
// one of our own tokens that another hides from ini.v1, or something empty is
// filled in, with a blank before it. Of several tokens of the profile itself, any
// may have been replaced.
func (d difference) undoes(value, old string, token bool) bool {
	before := []string{"", oldValue}
	for _, r := range d.replaced {
		before = append(before, r, strip(r))
	}
	for i := range before {
		before[i] = regexp.QuoteMeta(before[i])
	}
	if token {
		before = append(before, `[^\n]*`)
	}
	pattern := regexp.QuoteMeta(value)
	for name, was := range map[string]string{newValue: strings.Join(before, "|"), host: "|" + regexp.QuoteMeta(host)} {
		name = regexp.QuoteMeta(name)
		pattern = strings.ReplaceAll(pattern, " "+name, " ?"+name)
		pattern = strings.ReplaceAll(pattern, name, "(?:"+was+")")
	}
	return regexp.MustCompile("(?s)^" + pattern + "$").MatchString(old)
}

// strip takes off what Python takes for blanks.
func strip(s string) string {
	return strings.TrimFunc(s, func(r rune) bool { return unicode.IsSpace(r) || '\x1c' <= r && r <= '\x1f' })
}

// python is a Python that reads ini files, nil if there is none.
type python struct {
	in  io.Writer
	out *bufio.Reader
}

const reader = `
import base64, configparser, io, json, sys
for line in sys.stdin:
    c = configparser.ConfigParser()
    try:
        c.read_file(io.TextIOWrapper(io.BytesIO(base64.b64decode(line)), encoding="utf-8"))
        all = {name: dict(values) for name, values in c._sections.items()}
        all["DEFAULT"] = dict(c._defaults)
    except Exception as e:
        all = None
    print(json.dumps(all), flush=True)
`

func startPython(t testing.TB) *python {
	cmd := exec.Command("python3", "-c", reader)
	in, err := cmd.StdinPipe()
	out, err2 := cmd.StdoutPipe()
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Log("without Python: ", err)
		return nil
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	return &python{in, bufio.NewReaderSize(out, 1<<20)}
}

// read returns what Python's SDK sees of a file; ok is false if it can't be
// read.
func (p *python) read(t *testing.T, text []byte) (all values, ok bool) {
	t.Helper()
	if p == nil {
		return nil, false
	}
	if _, err := fmt.Fprintln(p.in, base64.StdEncoding.EncodeToString(text)); err != nil {
		t.Fatal(err)
	}
	line, err := p.out.ReadBytes('\n')
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(line, &all); err != nil {
		t.Fatalf("%v: %s", err, line)
	}
	return all, all != nil
}

// TestPythonReadsWhatWeWrite runs the table of .databrickscfg past Python.
func TestPythonReadsWhatWeWrite(t *testing.T) {
	python := startPython(t)
	if python == nil {
		t.Skip("no python3")
	}
	read := 0
	for _, e := range databrickscfgEdits() {
		in := []byte(fill(e.in))
		got, err := databrickscfg{owner(), "DEFAULT"}.Set(in, newValue, nil)
		if err != nil {
			continue
		}
		if _, ok := python.read(t, in); ok {
			read++
		}
		checkPython(t, python, in, got.Text, "DEFAULT", checkINI(t, in, got.Text, "DEFAULT"))
	}
	if read < 20 {
		t.Errorf("Python reads only %d of the files", read)
	}
}

// sameHost reports whether a profile's host is the tests' workspace.
func sameHost(s string) bool {
	is, err := pat.ParseHost(s)
	want, _ := pat.ParseHost(host)
	return err == nil && is.MaySame(want)
}
