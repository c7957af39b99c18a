package credwriter

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/databricks/databricks-sdk-go/config"

	"patrol/rotator/pat"
)

// old writes the old token for OLD, the new one for NEW and the host for HOST.
func fill(s string) string {
	return strings.NewReplacer("OLD", oldValue, "NEW", newValue, "HOST", host).Replace(s)
}

// databrickscfgEdits are the rows of TestDatabrickscfg, and what fuzzing starts from.
func databrickscfgEdits() []edit {
	return []edit{
		{
			name: "as the CLI writes it",
			in: "; The profile defined in the DEFAULT section is to be used as a fallback when no profile is explicitly specified.\n" +
				"[DEFAULT]\nhost  = HOST\ntoken = OLD\n\n[other]\nhost      = https://other.cloud.databricks.com\ntoken     = dapiother\nauth_type = pat\n\n" +
				"[__settings__]\ndefault_profile = DEFAULT\n",
			out: "; The profile defined in the DEFAULT section is to be used as a fallback when no profile is explicitly specified.\n" +
				"[DEFAULT]\nhost  = HOST\ntoken = NEW\n\n[other]\nhost      = https://other.cloud.databricks.com\ntoken     = dapiother\nauth_type = pat\n\n" +
				"[__settings__]\ndefault_profile = DEFAULT\n",
		},
		{
			name: "every byte of a hand-written one",
			in:   "# mine\r\n\r\n[DEFAULT]\t; comment\r\n\thost:HOST/\r\n  token=OLD # rotate me\r\njobs-api-version = 2.1\r\n[e2]\r\nhost=https://e2\r\nusername = a\r\npassword = p#1;2\r\n\r\n",
			out:  "# mine\r\n\r\n[DEFAULT]\t; comment\r\n\thost:HOST/\r\n  token=NEW # rotate me\r\njobs-api-version = 2.1\r\n[e2]\r\nhost=https://e2\r\nusername = a\r\npassword = p#1;2\r\n\r\n",
		},
		{name: "no final newline", in: "[DEFAULT]\nhost = HOST\ntoken = OLD", out: "[DEFAULT]\nhost = HOST\ntoken = NEW"},
		{name: "BOM", in: "\ufeff[DEFAULT]\nhost = HOST\ntoken = OLD\n", out: "\ufeff[DEFAULT]\nhost = HOST\ntoken = NEW\n"},
		{name: "double quotes", in: "[DEFAULT]\nhost = \"HOST\"\ntoken = \"OLD\"\n", out: "[DEFAULT]\nhost = \"HOST\"\ntoken = \"NEW\"\n"},
		{name: "single quotes", in: "[DEFAULT]\nhost = HOST\ntoken = 'OLD' ; c\n", out: "[DEFAULT]\nhost = HOST\ntoken = 'NEW' ; c\n"},
		{name: "backticks", in: "[DEFAULT]\nhost = HOST\ntoken = `OLD`\n", out: "[DEFAULT]\nhost = HOST\ntoken = `NEW`\n"},
		{name: "three quotes", in: "[DEFAULT]\nhost = HOST\ntoken = \"\"\"OLD\"\"\"\n", out: "[DEFAULT]\nhost = HOST\ntoken = \"\"\"NEW\"\"\"\n"},
		{name: "a quoted key", in: "[DEFAULT]\nhost = HOST\n\"token\" = OLD\n", out: "[DEFAULT]\nhost = HOST\n\"token\" = NEW\n"},
		{name: "a value with a backslash", in: "[DEFAULT]\nhost = HOST\ntoken = a\\1b\npath = C:\\dir\n", out: "[DEFAULT]\nhost = HOST\ntoken = NEW\npath = C:\\dir\n"},
		{name: "key names without a section", in: "host = HOST\ntoken = OLD\n[x]\ntoken = y\n", out: "host = HOST\ntoken = NEW\n[x]\ntoken = y\n"},
		{name: "duplicates", in: "[DEFAULT]\ntoken = first\nhost = HOST\ntoken = OLD\n", out: "[DEFAULT]\ntoken = NEW\nhost = HOST\ntoken = NEW\n"},
		{name: "a section in two parts", in: "[DEFAULT]\nhost = HOST\n[x]\na = 1\n[DEFAULT]\ntoken = OLD\n", out: "[DEFAULT]\nhost = HOST\n[x]\na = 1\n[DEFAULT]\ntoken = NEW\n"},
		{
			name: "lines that go on, of other keys",
			in:   "[DEFAULT]\nnote = a\\\n  token = no\\\n\nmore = `x\ntoken = no\n`\nhost = HOST\ntoken = OLD\n",
			out:  "[DEFAULT]\nnote = a\\\n  token = no\\\n\nmore = `x\ntoken = no\n`\nhost = HOST\ntoken = NEW\n",
		},
		{name: "a token that isn't ours, beside our host", in: "[DEFAULT]\nhost = HOST\ntoken = dapiby-hand\n", out: "[DEFAULT]\nhost = HOST\ntoken = NEW\n"},
		{name: "auth_type pat beside other keys", in: "[DEFAULT]\nhost = HOST\nauth_type = pat\nclient_id = x\n", out: "[DEFAULT]\nhost = HOST\nauth_type = pat\nclient_id = x\ntoken = NEW\n"},
		{name: "host without scheme", in: "[DEFAULT]\nhost = dbc-1.cloud.databricks.com/?o=12\ntoken = OLD\n", out: "[DEFAULT]\nhost = dbc-1.cloud.databricks.com/?o=12\ntoken = NEW\n"},

		// What is missing.
		{name: "empty", in: "\n", out: "\n[DEFAULT]\nhost = HOST\ntoken = NEW\n"},
		{name: "no token", in: "[DEFAULT]\nhost = HOST\n\n# next\n[x]\na = 1\n", out: "[DEFAULT]\nhost = HOST\ntoken = NEW\n\n# next\n[x]\na = 1\n"},
		{name: "no token, no newline", in: "[DEFAULT]\r\nhost = HOST", out: "[DEFAULT]\r\nhost = HOST\r\ntoken = NEW"},
		{name: "indented settings, no token", in: "[DEFAULT]\n  host = HOST\n[x]\n  a = 1\n", out: "[DEFAULT]\n  host = HOST\ntoken = NEW\n[x]\n  a = 1\n"},
		{name: "no host, our token", in: "[DEFAULT]\ntoken = OLD\n", out: "[DEFAULT]\ntoken = NEW\nhost = HOST\n"},
		{name: "nothing in the section", in: "[x]\na = 1\n[DEFAULT]\n\n[y]\n", out: "[x]\na = 1\n[DEFAULT]\nhost = HOST\ntoken = NEW\n\n[y]\n"},
		{name: "no section", in: "[x]\na = 1", out: "[x]\na = 1\n\n[DEFAULT]\nhost = HOST\ntoken = NEW\n"},
		{name: "no section, CRLF", in: "\ufeff[x]\r\na = 1\r\n", out: "\ufeff[x]\r\na = 1\r\n\r\n[DEFAULT]\r\nhost = HOST\r\ntoken = NEW\r\n"},
		{name: "after a backslash", in: "[x]\na = 1\\", out: "[x]\na = 1\\\n\n[DEFAULT]\nhost = HOST\ntoken = NEW\n"},
		{name: "empty values", in: "[DEFAULT]\nhost =\ntoken = \r\n", out: "[DEFAULT]\nhost = HOST\ntoken = NEW\r\n"},
		{name: "an empty host, no token", in: "[DEFAULT]\nhost =", out: "[DEFAULT]\nhost = HOST\ntoken = NEW"},
		{name: "empty values, tight", in: "[DEFAULT]\nhost=\ntoken=''\n", out: "[DEFAULT]\nhost=HOST\ntoken=NEW\n"},
		{name: "quotes around nothing", in: "[DEFAULT]\nhost = \"\"\ntoken = `` \n", out: "[DEFAULT]\nhost = HOST\ntoken = NEW \n"},
		{name: "three quotes around nothing", in: "[DEFAULT]\nhost = HOST\ntoken = \"\"\"\"\"\"\n", out: "[DEFAULT]\nhost = HOST\ntoken = NEW\n"},

		// Other profiles.
		{
			name: "our token in other profiles",
			in:   "[DEFAULT]\nhost = HOST\ntoken = OLD\n[same]\nhost = HOST\ntoken = OLD\n[bare]\ntoken = OLD\nclient_id = x\n",
			out:  "[DEFAULT]\nhost = HOST\ntoken = NEW\n[same]\nhost = HOST\ntoken = NEW\n[bare]\ntoken = NEW\nclient_id = x\n",
		},
		{
			name: "another token in another profile of this host",
			in:   "[DEFAULT]\nhost = HOST\ntoken = OLD\n[same]\nhost = HOST\ntoken = dapici\n",
			out:  "[DEFAULT]\nhost = HOST\ntoken = NEW\n[same]\nhost = HOST\ntoken = dapici\n",
		},
		{
			name: "our token beside another host",
			in:   "[DEFAULT]\nhost = HOST\ntoken = OLD\n[other]\nhost = https://alias.example\ntoken = OLD\n",
			out:  "[DEFAULT]\nhost = HOST\ntoken = NEW\n[other]\nhost = https://alias.example\ntoken = OLD\n",
			left: "beside another host, https://alias.example",
		},
		{
			name: "our token under another key",
			in:   "[DEFAULT]\nhost = HOST\ntoken = OLD\nmy_token = OLD\n",
			out:  "[DEFAULT]\nhost = HOST\ntoken = NEW\nmy_token = OLD\n",
			left: "my_token of profile DEFAULT",
		},
		{
			name: "our token in another profile, where another is read",
			in:   "[DEFAULT]\nhost =\nhost = HOST/\ntoken = OLD\n[x]\ntoken = OLD\ntoken = other\n",
			out:  "[DEFAULT]\nhost = HOST\nhost = HOST/\ntoken = NEW\n[x]\ntoken = NEW\ntoken = other\n",
		},
		{
			name: "our token in capitals",
			in:   "[DEFAULT]\nhost = HOST\ntoken = OLD\n[x]\nTOKEN = OLD\n",
			out:  "[DEFAULT]\nhost = HOST\ntoken = NEW\n[x]\nTOKEN = NEW\n",
		},

		// What can't be done.
		{name: "OAuth", in: "[DEFAULT]\nhost = HOST\nclient_id = x\nclient_secret = OLD\n", err: "OAuth (client_id), and the Databricks tools take no token beside that: use another profile, such as --profile patrol"},
		{name: "databricks-cli", in: "[DEFAULT]\nhost = HOST\nauth_type = databricks-cli\n", err: "databricks-cli (auth_type)"},
		{name: "another host", in: "[DEFAULT]\nhost = https://dbc-2.cloud.databricks.com\ntoken = x\n", err: "belongs to https://dbc-2.cloud.databricks.com"},
		{name: "another host that begins as ours", in: "[DEFAULT]\nhost = HOST.evil.com\n", err: "belongs to"},
		{name: "http instead of https", in: "[DEFAULT]\nhost = http://dbc-1.cloud.databricks.com\n", err: "belongs to"},
		{name: "one of two hosts", in: "[DEFAULT]\nhost = https://x\nhost = HOST\ntoken = OLD\n", err: "belongs to https://x"},
		{name: "no host, unknown token", in: "[DEFAULT]\ntoken = dapiwhose\n", err: "no host that says where it belongs: add host = HOST"},
		{name: "capitals", in: "[DEFAULT]\nhost = HOST\nTOKEN = OLD\n", err: "has the key TOKEN"},
		{name: "a host in capitals", in: "[DEFAULT]\nHost = HOST\ntoken = OLD\n", err: "has the key Host"},
		{name: "a line to Python alone", in: "[DEFAULT]\nhost = HOST\ntoken = OLD\r[x]\n", err: "line 3: it has a carriage return in its middle"},
		{name: "a key to Python alone", in: "[DEFAULT]\nhost = HOST\nnote = a\\\ntoken = OLD\n", err: "its note goes over several lines"},
		{name: "a header to Python alone", in: "[DEFAULT]\nhost = HOST\nnote = a\\\n[x]\ntoken = OLD\n", err: "line 4: the value that goes on here"},
		{name: "a token over two lines", in: "[DEFAULT]\nhost = HOST\ntoken = dapi\\\n1234\n", err: "over several lines"},
		{name: "below it a line is indented", in: "[DEFAULT]\nhost = HOST\n  [x]\na = 1\n", err: "take the indentation away"},
		{name: "its header is indented", in: "[x]\na = 1\n  [DEFAULT]\nhost = HOST\n", err: "take the indentation away"},
		{name: "no ini", in: "[DEFAULT]\nhost = HOST\nOLD\n", err: "line 3: it is no comment"},
		{name: "an open section", in: "[DEFAULT\ntoken = OLD\n", err: "line 1: a section's header"},
		{name: "an open quote", in: "[DEFAULT]\ntoken = `OLD\n\n", err: "line 2: the quote"},
		{name: "UTF-16", in: "\xff\xfe[\x00D\x00", err: "save it as UTF-8"},
	}
}

func TestDatabrickscfg(t *testing.T) {
	for _, e := range databrickscfgEdits() {
		t.Run(e.name, func(t *testing.T) {
			e.in, e.out, e.err = fill(e.in), fill(e.out), fill(e.err)
			e.run(t, ".databrickscfg", func(path string) file { return NewDatabrickscfg(path, "DEFAULT", owner()) })
		})
	}
}

func TestDatabrickscfgOtherProfile(t *testing.T) {
	const in = "[DEFAULT]\nhost = HOST\ntoken = OLD\nclient_id = x\n\n[a.b]\nhost = HOST\n\n[__settings__]\ndefault_profile = a.b\n"
	for _, e := range []edit{
		// ini.v1 lets a.b inherit from a; the SDK doesn't.
		{name: "", out: "[DEFAULT]\nhost = HOST\ntoken = NEW\nclient_id = x\n\n[a.b]\nhost = HOST\ntoken = NEW\n\n[__settings__]\ndefault_profile = a.b\n"},
		{name: "patrol", out: "[DEFAULT]\nhost = HOST\ntoken = NEW\nclient_id = x\n\n[a.b]\nhost = HOST\n\n[__settings__]\ndefault_profile = a.b\n\n[patrol]\nhost = HOST\ntoken = NEW\n"},
		{name: "__settings__", err: "is no profile"},
		{name: "a]b", err: "no brackets"},
		{name: "a\nb", err: "no brackets"},
		{name: " a", err: "no blanks"},
	} {
		t.Run(e.name, func(t *testing.T) {
			e.in, e.out = fill(in), fill(e.out)
			e.run(t, ".databrickscfg", func(path string) file { return NewDatabrickscfg(path, e.name, owner()) })
		})
	}
}

// TestDatabrickscfgOnAHostOfManyWorkspaces: there a number tells them apart.
func TestDatabrickscfgOnAHostOfManyWorkspaces(t *testing.T) {
	o := owner()
	o.Host = host + "/?o=1"
	for _, e := range []edit{
		{name: "ours", in: "[DEFAULT]\nhost = HOST\nworkspace_id = 1\ntoken = OLD\n", out: "[DEFAULT]\nhost = HOST\nworkspace_id = 1\ntoken = NEW\n"},
		{name: "another, by its own key", in: "[DEFAULT]\nhost = HOST\nworkspace_id = 2\ntoken = OLD\n", err: "belongs to"},
		{name: "another, in the host", in: "[DEFAULT]\nhost = HOST?w=2\ntoken = OLD\n", err: "belongs to"},
		{name: "none said", in: "[DEFAULT]\nhost = HOST\ntoken = OLD\n", out: "[DEFAULT]\nhost = HOST\ntoken = NEW\n"},
		{
			name: "another profile of another", left: "beside another host",
			in:  "[DEFAULT]\nhost = HOST\ntoken = OLD\n[x]\nhost = HOST\nworkspace_id = 2\ntoken = OLD\n",
			out: "[DEFAULT]\nhost = HOST\ntoken = NEW\n[x]\nhost = HOST\nworkspace_id = 2\ntoken = OLD\n",
		},
	} {
		t.Run(e.name, func(t *testing.T) {
			e.in, e.out = fill(e.in), fill(e.out)
			e.run(t, ".databrickscfg", func(path string) file { return NewDatabrickscfg(path, "DEFAULT", o) })
		})
	}
}

func TestDatabrickscfgErrorsAreTyped(t *testing.T) {
	path := put(t, ".databrickscfg", fill("[DEFAULT]\nhost = HOST\nazure_tenant_id = x\n[other]\nhost = https://x\n"))
	_, err := NewDatabrickscfg(path, "DEFAULT", owner()).Write(newToken)
	if e, ok := errors.AsType[*OtherAuthError](err); !ok || e.Profile != "DEFAULT" || e.Method != "Azure (azure_tenant_id)" || e.Path != path {
		t.Errorf("got %#v from %v", e, err)
	}
	_, err = NewDatabrickscfg(path, "other", owner()).Write(newToken)
	if e, ok := errors.AsType[*OtherHostError](err); !ok || e.Profile != "other" || e.Host != "https://x" || e.Want != host {
		t.Errorf("got %#v from %v", e, err)
	}
}

func TestDatabrickscfgIsMade(t *testing.T) {
	path := filepath.Join(t.TempDir(), "not", "yet", ".databrickscfg")
	d := NewDatabrickscfg(path, "patrol", owner())
	if err := d.Check(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Dir(filepath.Dir(path))); err == nil {
		t.Fatal("Check made a folder")
	}
	if holds, err := d.Holds(newToken.Hash()); holds || err != nil {
		t.Errorf("Holds without a file: %v, %v", holds, err)
	}
	if left, err := d.Write(newToken); len(left) > 0 || err != nil {
		t.Fatal(left, err)
	}
	if got, want := get(t, path), fill("[patrol]\nhost = HOST\ntoken = NEW\n"); got != want {
		t.Errorf("the file is %q, want %q", got, want)
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("%v %v, want mode 0600", info.Mode(), err)
	}
	if info, err := os.Stat(filepath.Dir(path)); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v %v, want mode 0700", info.Mode(), err)
	}
}

func TestDatabrickscfgHolds(t *testing.T) {
	path := put(t, ".databrickscfg", fill("[DEFAULT]\nhost = https://x\ntoken = other\n[x]\nTOKEN = twice\nTOKEN = 'OLD' # c\n"))
	d := NewDatabrickscfg(path, "DEFAULT", owner())
	for value, want := range map[string]bool{"other": true, "twice": true, oldValue: true, newValue: false, "": false} {
		if got, err := d.Holds(pat.Hash(value)); got != want || err != nil {
			t.Errorf("Holds(%q) = %v, %v", value, got, err)
		}
	}
}

func TestTokensThatAreNotWritten(t *testing.T) {
	path := put(t, ".databrickscfg", "")
	d := NewDatabrickscfg(path, "DEFAULT", owner())
	for value, from := range map[string]string{
		"":           host,
		"dapi1":      "https://dbc-2.cloud.databricks.com",
		"dapi2":      "",
		"dapi 3":     host,
		"dapi\n[x]":  host,
		"\"dapi4\"":  host,
		"dapi#5":     host,
		"dapi%6":     host,
		"dapi7\\":    host,
		"dapi\u00e4": host,
	} {
		if _, err := d.Write(pat.New(value, from)); err == nil || value != "" && strings.Contains(err.Error(), value) {
			t.Errorf("Write(%q of %q): %v", value, from, err)
		}
	}
	if got := get(t, path); got != "" {
		t.Errorf("written: %q", got)
	}
	if _, err := d.Write(pat.New(`dapi\1`, host+"/")); err != nil {
		t.Errorf("a backslash inside: %v", err)
	}
}

// TestOtherAuthsAreTheSDKs holds our list against the attributes that the SDK
// counts as another way to sign in.
func TestOtherAuthsAreTheSDKs(t *testing.T) {
	for _, a := range config.ConfigAttributes {
		known := slices.ContainsFunc(otherAuths, func(o struct{ key, method string }) bool { return o.key == a.Name })
		if want := a.Auth != "" && a.Auth != "pat"; want && !known {
			t.Errorf("%s (%s) is missing", a.Name, a.Auth)
		} else if !want && known {
			t.Errorf("%s is no way to sign in", a.Name)
		}
	}
}

// silent keeps the SDK from asking the host.
func silent(context.Context, string) (*config.HostMetadata, error) { return nil, nil }

// TestSDKRefusesWhatWeRefuse asks the SDK itself whether it would work with a
// token beside the other ways to sign in.
func TestSDKRefusesWhatWeRefuse(t *testing.T) {
	sdk := func(path string) string {
		cfg := &config.Config{
			ConfigFile: path, Profile: "DEFAULT", HostMetadataResolver: silent,
			Loaders: []config.Loader{config.ConfigFile}, // and not the environment
		}
		if err := cfg.EnsureResolved(); err != nil || cfg.AuthType != "" && cfg.AuthType != "pat" {
			return ""
		}
		return cfg.Token
	}
	for _, a := range otherAuths {
		path := put(t, ".databrickscfg", fill("[DEFAULT]\nhost = HOST\ntoken = OLD\n"+a.key+" = true\n"))
		if a.key == "oidc_token_filepath" { // Python's name for databricks_id_token_filepath
			continue
		}
		if sdk(path) != "" {
			t.Errorf("the SDK takes a token beside %s", a.key)
		}
	}
	path := put(t, ".databrickscfg", fill("[DEFAULT]\nhost = HOST\nauth_type = pat\nclient_id = x\n"))
	if _, err := NewDatabrickscfg(path, "", owner()).Write(newToken); err != nil || sdk(path) != newValue {
		t.Errorf("the SDK reads %q (%v)", sdk(path), err)
	}
}

func TestReadProfile(t *testing.T) {
	const text = "[DEFAULT]\nhost = dbc-1.cloud.databricks.com/x?o=7\ntoken = OLD # c\n[bare]\ntoken = x\n[m2m]\nhost = https://h:8443\nclient_id = x\n[bad]\nhost = a b\n[empty]\n"
	tok := func(value, host string) pat.Token { return pat.New(value, host) }
	for _, c := range []struct {
		text, profile string
		want          Profile
	}{
		{text, "", Profile{Name: "DEFAULT", Host: host + "?o=7", Token: tok(oldValue, host+"?o=7"), Exists: true}},
		{text, "bare", Profile{Name: "bare", Token: tok("x", ""), Exists: true}},
		{text, "m2m", Profile{Name: "m2m", Host: "https://h:8443", Exists: true, OtherAuth: "OAuth (client_id)"}},
		{text, "bad", Profile{Name: "bad", Host: "a b", Exists: true}},
		{text, "empty", Profile{Name: "empty", Exists: true}},
		{text, "none", Profile{Name: "none"}},
		{text + "[__settings__]\ndefault_profile = m2m \n", "", Profile{Name: "m2m", Host: "https://h:8443", Exists: true, OtherAuth: "OAuth (client_id)"}},
		{text + "[__settings__]\ndefault_profile = gone\n", "", Profile{Name: "gone"}},
		{text + "[__settings__]\ndefault_profile =\n", "", Profile{Name: "DEFAULT", Host: host + "?o=7", Token: tok(oldValue, host+"?o=7"), Exists: true}},
		{"", "", Profile{Name: "DEFAULT"}},
		{"[x]\n", "", Profile{Name: "DEFAULT"}},
		{"token = x\n", "", Profile{Name: "DEFAULT", Token: tok("x", ""), Exists: true}},
	} {
		got, err := ReadProfile(put(t, "cfg", fill(c.text)), c.profile)
		if err != nil {
			t.Errorf("%s of %q: %v", c.profile, c.text, err)
			continue
		}
		if got.Token.Host != c.want.Token.Host || !got.Token.Same(c.want.Token) {
			t.Errorf("%s of %q: another token", c.profile, c.text)
		}
		got.Token, c.want.Token = pat.Token{}, pat.Token{}
		if !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s of %q: %+v, want %+v", c.profile, c.text, got, c.want)
		}
	}
	if p, err := ReadProfile(filepath.Join(t.TempDir(), "none", "cfg"), ""); err != nil || p.Name != "DEFAULT" || p.Exists {
		t.Errorf("without a file: %+v, %v", p, err)
	}
	for _, text := range []string{fill("[x\nOLD"), fill("OLD"), "[__settings__]\ndefault_profile = __settings__\n"} {
		path := put(t, "cfg", text)
		if _, err := ReadProfile(path, ""); err == nil || strings.Contains(err.Error(), oldValue) || !strings.Contains(err.Error(), path) {
			t.Errorf("ReadProfile of %q: %v", text, err)
		}
	}
}
