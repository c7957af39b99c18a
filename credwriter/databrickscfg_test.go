package credwriter

import (
	"context"
	"errors"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/databricks/databricks-sdk-go/config"

	"patrol/rotator/pat"
)

// databrickscfgEdits are the rows of TestDatabrickscfg, and what fuzzing starts from.
func databrickscfgEdits() []row {
	return []row{
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

func TestDatabrickscfgSet(t *testing.T) {
	sets(t, databrickscfg{owner(), "DEFAULT"}, databrickscfgEdits())
}

func TestDatabrickscfgRemove(t *testing.T) {
	removes(t, databrickscfg{owner(), ""}, []row{
		{name: "as people have it", in: "# mine\n[DEFAULT]\nhost = HOST\ntoken = OLD\ncluster_id = c\n\n[x]\ntoken = y\n", out: "# mine\n[DEFAULT]\nhost = HOST\ncluster_id = c\n\n[x]\ntoken = y\n"},
		{name: "CRLF", in: "[DEFAULT]\r\ntoken = OLD\r\nhost = HOST\r\n", out: "[DEFAULT]\r\nhost = HOST\r\n"},
		{name: "no newline at the end", in: "[DEFAULT]\nhost = HOST\ntoken = OLD", out: "[DEFAULT]\nhost = HOST\n"},
		{name: "a comment on the line", in: "[DEFAULT]\nhost = HOST\ntoken = OLD ; mine\n", out: "[DEFAULT]\nhost = HOST\n; mine\n"},
		{name: "quotes and a comment", in: "[DEFAULT]\ntoken = \"OLD\" # mine\n", out: "[DEFAULT]\n# mine\n"},
		{name: "quotes", in: "[DEFAULT]\ntoken = 'OLD'\nhost = HOST\n", out: "[DEFAULT]\nhost = HOST\n"},
		{name: "the only line", in: "# x\ntoken = OLD", out: "# x\n"},
		{name: "several lines", in: "[DEFAULT]\ntoken = dapi0ld0ld0ld0ld\\\n0ld0ld0ld0ld0ld0ld\nhost = HOST\n", out: "[DEFAULT]\nhost = HOST\n"},
		{name: "below it a line is indented", in: "[DEFAULT]\nhost = HOST\ntoken = OLD\n  cluster_id = c\n", out: "[DEFAULT]\nhost = HOST\ntoken = \n  cluster_id = c\n"},
		{name: "several lines, and one below is indented", in: "[DEFAULT]\ntoken = OLD\\\n\n host = x\n", out: "[DEFAULT]\ntoken = \n host = x\n"},
		{name: "a comment, and below it a line is indented", in: "[DEFAULT]\nhost = HOST\ntoken = \"OLD\" ; mine\n  cluster_id = c\n", out: "[DEFAULT]\nhost = HOST\ntoken = \n  cluster_id = c\n"},
		{name: "other profiles", in: "[DEFAULT]\ntoken = OLD\n[x]\nhost = https://other.example\ntoken = OLD\n[y]\nTOKEN = OLD\na = 1\n", out: "[DEFAULT]\n[x]\nhost = https://other.example\n[y]\na = 1\n"},
		{name: "duplicates", in: "[DEFAULT]\ntoken = OLD\ntoken = other\n", out: "[DEFAULT]\ntoken = other\n", left: "token of profile DEFAULT"},
		{name: "beside other ways to sign in", in: "[DEFAULT]\nhost = HOST\nclient_id = x\ntoken = OLD\n", out: "[DEFAULT]\nhost = HOST\nclient_id = x\n"},
		{name: "not ours", in: "[DEFAULT]\nhost = HOST\ntoken = dapimine\n", left: "token of profile DEFAULT"},
		{name: "one of ours that isn't gone", in: "[DEFAULT]\nhost = HOST\ntoken = NEW\n", left: "token of profile DEFAULT"},
		{name: "another key", in: "[DEFAULT]\nmy_token = OLD\n", left: "my_token of profile DEFAULT"},
		{name: "nothing", in: "[DEFAULT]\nhost = HOST\ntoken =\n"},
		{name: "empty", in: ""},
		{name: "no ini", in: "what\n", err: "line 1"},
	})
}

// TestDatabrickscfgRemoveAll: a text that holds nothing but the token is empty
// afterwards, which isn't the same as left alone.
func TestDatabrickscfgRemoveAll(t *testing.T) {
	e, err := databrickscfg{owner(), ""}.Remove([]byte("token = "+oldValue+"\n"), goneOld)
	if err != nil || e.Text == nil || len(e.Text) > 0 || e.Left != nil {
		t.Errorf("%q, %q, %v", e.Text, e.Left, err)
	}
}

// TestDatabrickscfgMayReplace: a token that may not be replaced stays, and
// nothing else is written.
func TestDatabrickscfgMayReplace(t *testing.T) {
	only := func(values ...string) func(string) bool {
		return func(hash string) bool {
			return slices.ContainsFunc(values, func(v string) bool { return pat.Hash(v) == hash })
		}
	}
	const rest = "[other]\ntoken = OLD\n"
	for _, c := range []struct {
		in      string
		may     func(string) bool
		foreign bool
	}{
		{"host = HOST\ntoken = dapipasted", only(oldValue), true},
		{"token = dapipasted\nhost = HOST", only(), true},
		{"host = HOST\ntoken = OLD\ntoken = dapipasted", only(oldValue), true},
		{"host = HOST\ntoken = dapipasted\ntoken = OLD", only(oldValue), true},
		{"host = HOST\ntoken = dapipasted", only("dapipasted"), false},
		{"host = HOST\ntoken = dapipasted", nil, false},
		{"host = HOST\ntoken = OLD", only(oldValue), false},
		{"host = HOST\ntoken = NEW", only(), false},
		{"host = HOST\ntoken =", only(), false},
		{"host = HOST", only(), false},
	} {
		e, err := databrickscfg{owner(), "DEFAULT"}.Set([]byte(fill("[DEFAULT]\n"+c.in+"\n"+rest)), newValue, c.may)
		if errors.Is(err, pat.ErrForeign) != c.foreign || (err != nil) != c.foreign || (e.Text == nil) != c.foreign {
			t.Errorf("%q: %q, %v", c.in, e.Text, err)
		}
		if err != nil && (strings.Contains(err.Error(), "dapi") || !strings.Contains(err.Error(), "profile DEFAULT holds a token that isn't patrol's: patrol takes it over once")) {
			t.Error(err)
		}
	}
	_, err := databrickscfg{owner(), "DEFAULT"}.Set([]byte("[DEFAULT]\ntoken = dapipasted\nhost = https://x\n"), newValue, only())
	if err == nil || errors.Is(err, pat.ErrForeign) {
		t.Errorf("another workspace's: %v", err)
	}
}

func TestDatabrickscfgOtherProfile(t *testing.T) {
	const in = "[DEFAULT]\nhost = HOST\ntoken = OLD\nclient_id = x\n\n[a.b]\nhost = HOST\n\n[__settings__]\ndefault_profile = a.b\n"
	for _, e := range []row{
		// ini.v1 lets a.b inherit from a; the SDK doesn't.
		{name: "", out: "[DEFAULT]\nhost = HOST\ntoken = NEW\nclient_id = x\n\n[a.b]\nhost = HOST\ntoken = NEW\n\n[__settings__]\ndefault_profile = a.b\n"},
		{name: "patrol", out: "[DEFAULT]\nhost = HOST\ntoken = NEW\nclient_id = x\n\n[a.b]\nhost = HOST\n\n[__settings__]\ndefault_profile = a.b\n\n[patrol]\nhost = HOST\ntoken = NEW\n"},
		{name: "__settings__", err: "is no profile"},
		{name: "a]b", err: "no brackets"},
		{name: "a\nb", err: "no brackets"},
		{name: " a", err: "no blanks"},
	} {
		t.Run(e.name, func(t *testing.T) {
			e.in = in
			sets(t, databrickscfg{owner(), e.name}, []row{e})
		})
	}
}

// TestDatabrickscfgOnAHostOfManyWorkspaces: there a number tells them apart.
func TestDatabrickscfgOnAHostOfManyWorkspaces(t *testing.T) {
	o := owner()
	o.Host.Workspace = "1"
	sets(t, databrickscfg{o, "DEFAULT"}, []row{
		{name: "ours", in: "[DEFAULT]\nhost = HOST\nworkspace_id = 1\ntoken = OLD\n", out: "[DEFAULT]\nhost = HOST\nworkspace_id = 1\ntoken = NEW\n"},
		{name: "another, by its own key", in: "[DEFAULT]\nhost = HOST\nworkspace_id = 2\ntoken = OLD\n", err: "belongs to"},
		{name: "another, in the host", in: "[DEFAULT]\nhost = HOST?w=2\ntoken = OLD\n", err: "belongs to"},
		{name: "none said", in: "[DEFAULT]\nhost = HOST\ntoken = OLD\n", out: "[DEFAULT]\nhost = HOST\ntoken = NEW\n"},
		{
			name: "another profile of another", left: "beside another host",
			in:  "[DEFAULT]\nhost = HOST\ntoken = OLD\n[x]\nhost = HOST\nworkspace_id = 2\ntoken = OLD\n",
			out: "[DEFAULT]\nhost = HOST\ntoken = NEW\n[x]\nhost = HOST\nworkspace_id = 2\ntoken = OLD\n",
		},
	})
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
	if _, err := NewDatabrickscfg(path, "", owner()).Write(newToken, nil); err != nil || sdk(path) != newValue {
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
