package target

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"patrol/cmd/patrol/internal/cli"
)

const (
	hostA = "https://a.cloud.databricks.com"
	hostB = "https://b.cloud.databricks.com"
)

// profiles is a .databrickscfg as people have them.
const profiles = `[DEFAULT]
host = https://a.cloud.databricks.com/
token = token-default

[work]
host  = b.cloud.databricks.com
token = token-work

[oauth]
host = https://a.cloud.databricks.com
client_id = 1
client_secret = ` + canary + `

[hostless]
token = token-hostless

[empty]
`

// canary is a token's value that no output may contain.
const canary = "dapi-canary-0123456789abcdef"

// options is what a command is told with a home of its own, this environment and
// these arguments.
func options(t *testing.T, environ []string, args ...string) (o cli.Options) {
	t.Helper()
	p := cli.Process{Env: append(cli.Env{"HOME=" + t.TempDir()}, environ...), Streams: cli.Streams{Err: t.Output()}}
	cmd := &cobra.Command{RunE: p.Run(func(_ context.Context, got cli.Options) error { o = got; return nil })}
	cli.AddFlags(cmd, "host", "profile")
	cmd.SetArgs(args)
	if err := cmd.ExecuteContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	return o
}

// write makes the .databrickscfg of a home.
func write(t *testing.T, o cli.Options, content string) string {
	t.Helper()
	path := filepath.Join(o.Get("HOME"), ".databrickscfg")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestResolveTarget(t *testing.T) {
	tests := []struct {
		name    string
		cfg     string
		env     []string
		args    []string
		profile string
		host    string
		env2    string // the token of the environment that is used
		ignored string // part of why the environment's token isn't
	}{
		{"the file alone", profiles, nil, nil, "DEFAULT", hostA, "", ""},
		{"a profile by flag", profiles, nil, []string{"--profile=work"}, "work", hostB, "", ""},
		{"a profile by patrol's variable", profiles, []string{"PATROL_PROFILE=work"}, nil, "work", hostB, "", ""},
		{"a profile by Databricks' variable", profiles, []string{"DATABRICKS_CONFIG_PROFILE=work"}, nil, "work", hostB, "", ""},
		{"the flag wins", profiles, []string{"DATABRICKS_CONFIG_PROFILE=work"}, []string{"--profile=DEFAULT"}, "DEFAULT", hostA, "", ""},
		{"the file's default profile", "[__settings__]\ndefault_profile = work\n" + profiles, nil, nil, "work", hostB, "", ""},
		{"no file, an app", "", []string{"DATABRICKS_HOST=a.cloud.databricks.com", "DATABRICKS_TOKEN=t"}, nil, "DEFAULT", hostA, "t", ""},
		{"environment and file agree", profiles, []string{"DATABRICKS_HOST=" + hostA, "DATABRICKS_TOKEN= t "}, nil, "DEFAULT", hostA, "t", ""},
		{"--profile ignores the pair", profiles, []string{"DATABRICKS_HOST=" + hostA, "DATABRICKS_TOKEN=t"}, []string{"--profile=work"}, "work", hostB, "", "--profile is given"},
		{"--profile ignores the pair of its own host", profiles, []string{"DATABRICKS_HOST=" + hostA, "DATABRICKS_TOKEN=t"}, []string{"--profile=DEFAULT"}, "DEFAULT", hostA, "", "--profile is given"},
		{"--profile ignores a broken variable", profiles, []string{"DATABRICKS_HOST=https://x/y", "DATABRICKS_TOKEN=t"}, []string{"--profile=DEFAULT"}, "DEFAULT", hostA, "", "--profile is given"},
		{"--host unlike the variable", "", []string{"DATABRICKS_HOST=" + hostA, "DATABRICKS_TOKEN=t"}, []string{"--host=" + hostB}, "DEFAULT", hostB, "", "it is for " + hostA},
		{"--host like the variable", "", []string{"DATABRICKS_HOST=" + hostA + "/", "DATABRICKS_TOKEN=t"}, []string{"--host=" + hostA}, "DEFAULT", hostA, "t", ""},
		{"a new profile from the environment's token", profiles, []string{"DATABRICKS_HOST=" + hostA, "DATABRICKS_TOKEN=t"}, []string{"--profile=new", "--host=" + hostA}, "new", hostA, "t", ""},
		{"--profile with a token ignores the pair, also with --host", profiles, []string{"DATABRICKS_HOST=" + hostA, "DATABRICKS_TOKEN=t"}, []string{"--profile=DEFAULT", "--host=" + hostA}, "DEFAULT", hostA, "", "has a token"},
		{"a profile without a token", profiles, []string{"DATABRICKS_HOST=" + hostA, "DATABRICKS_TOKEN=t"}, []string{"--profile=empty", "--host=" + hostA}, "empty", hostA, "t", ""},
		{"a new profile", profiles, nil, []string{"--profile=new", "--host=" + hostB}, "new", hostB, "", ""},
		{"a token of unknown origin", profiles, []string{"DATABRICKS_TOKEN=t"}, nil, "DEFAULT", hostA, "", "doesn't say which workspace"},
		{"a numbered workspace", "", []string{"DATABRICKS_HOST=" + hostA + "/?o=7", "DATABRICKS_TOKEN=t"}, []string{"--host=" + hostA}, "DEFAULT", hostA, "t", ""},
		{"the profile's number", "[DEFAULT]\nhost = " + hostA + "/?o=7\n", nil, []string{"--host=" + hostA}, "DEFAULT", hostA + "?o=7", "", ""},
		{"another number", "", []string{"DATABRICKS_HOST=" + hostA + "/?o=7", "DATABRICKS_TOKEN=t"}, []string{"--host=" + hostA + "?o=8"}, "DEFAULT", hostA + "?o=8", "", "it is for"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := options(t, tt.env, tt.args...)
			if tt.cfg != "" {
				write(t, o, tt.cfg)
			}
			got, err := Resolve(o)
			if err != nil {
				t.Fatalf("%v (%s)", err, cli.HintOf(err))
			}
			if got.Profile.Name != tt.profile || got.Host.String() != tt.host {
				t.Errorf("profile %q at %s, want %q at %s", got.Profile.Name, got.Host, tt.profile, tt.host)
			}
			if got.envToken.Expose() != tt.env2 {
				t.Errorf("the environment's token is %q, want %q", got.envToken.Expose(), tt.env2)
			}
			if (got.Ignored == "") != (tt.ignored == "") || !strings.Contains(got.Ignored, tt.ignored) {
				t.Errorf("ignored because %q, want %q", got.Ignored, tt.ignored)
			}
		})
	}
}

func TestResolveTargetRefused(t *testing.T) {
	tests := []struct {
		name string
		cfg  string
		env  []string
		args []string
		says []string // parts of the message
		hint string
	}{
		{"nothing at all", "", nil, nil, []string{"no workspace is named", "DATABRICKS_HOST", "profile DEFAULT in "}, "--host https://"},
		{"host without scheme", "", nil, []string{"--host=a.cloud.databricks.com"}, []string{"--host", "scheme is missing"}, "--host " + hostA},
		{"host without scheme by variable", "", []string{"PATROL_HOST=a.cloud.databricks.com"}, nil, []string{"PATROL_HOST", "scheme is missing"}, "--host " + hostA},
		{"host with path", "", nil, []string{"--host=" + hostA + "/browse?o=5"}, []string{"no path"}, "perhaps --host " + hostA + "?o=5"},
		{"host with both", "", nil, []string{"--host=a.cloud.databricks.com/x"}, []string{"no path"}, "perhaps --host " + hostA},
		{"variable with path", "", []string{"DATABRICKS_HOST=" + hostA + "/x"}, nil, []string{"DATABRICKS_HOST", "no path"}, "perhaps " + hostA},
		{"variable in clear", "", []string{"DATABRICKS_HOST=http://a.cloud.databricks.com"}, nil, []string{"clear text"}, hostA},
		{"file in clear", "[DEFAULT]\nhost = http://a.cloud.databricks.com\n", nil, nil, []string{"profile DEFAULT", "clear text"}, hostA},
		{"unknown profile", profiles, nil, []string{"--profile=werk"}, []string{`--profile names profile "werk"`}, "there are: DEFAULT, work, oauth, hostless, empty; to make it: --profile werk --host"},
		{"unknown profile by variable", profiles, []string{"DATABRICKS_CONFIG_PROFILE=werk", "DATABRICKS_HOST=" + hostA}, nil, []string{"DATABRICKS_CONFIG_PROFILE names"}, "there are:"},
		{"unknown profile without a file", "", nil, []string{"--profile=x"}, []string{`"x"`}, "databricks configure"},
		{"reserved profile", profiles, nil, []string{"--profile=__settings__"}, []string{"not the name of a profile"}, ""},
		{"profile with bracket", profiles, nil, []string{"--profile=a]b"}, []string{"not the name of a profile"}, ""},
		{"profile without host", profiles, []string{"DATABRICKS_HOST=" + hostA}, []string{"--profile=empty"}, []string{"has no host", "don't name a profile"}, "--host " + hostA},
		{"a token without host", profiles, nil, []string{"--profile=hostless", "--host=" + hostA}, []string{"a token and no host"}, "host = " + hostA},
		{"OAuth", profiles, nil, []string{"--profile=oauth"}, []string{"profile oauth in ", "OAuth (client_id)"}, "--profile patrol --host " + hostA},
		{"the flag's host isn't the profile's", profiles, nil, []string{"--host=" + hostB}, []string{"--host is " + hostB, "belongs to " + hostA}, "--profile NAME --host " + hostB},
		{"the variable's host isn't the profile's", profiles, []string{"DATABRICKS_HOST=" + hostB}, nil, []string{"DATABRICKS_HOST is " + hostB}, "for " + hostA + ": --profile DEFAULT"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := options(t, tt.env, tt.args...)
			if tt.cfg != "" {
				write(t, o, tt.cfg)
			}
			_, err := Resolve(o)
			if err == nil {
				t.Fatal("accepted")
			}
			code, hint := cli.CodeOf(err), cli.HintOf(err)
			if code != cli.ExitUsage {
				t.Errorf("exit code %d, want %d", code, cli.ExitUsage)
			}
			for _, part := range tt.says {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("says %q, want %q in it", err, part)
				}
			}
			if hint == "" || !strings.Contains(hint, tt.hint) {
				t.Errorf("hint %q, want %q in it", hint, tt.hint)
			}
			if strings.Contains(err.Error()+hint, canary) {
				t.Errorf("the secret got out: %v (%s)", err, hint)
			}
		})
	}
}

func TestResolveTargetBrokenFile(t *testing.T) {
	for _, tt := range []struct{ name, content string }{
		{"no ini", "what is this\n" + canary},
		{"unclosed", "[DEFAULT\nhost = x"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := options(t, nil, "--host="+hostA)
			path := write(t, o, tt.content)
			_, err := Resolve(o)
			if err == nil || !strings.Contains(err.Error(), path) {
				t.Errorf("error %v, want one that names %s", err, path)
			}
			if err != nil && strings.Contains(err.Error(), canary) {
				t.Errorf("the file's content got out: %v", err)
			}
		})
	}
}

func TestCandidates(t *testing.T) {
	o := options(t, []string{"DATABRICKS_HOST=" + hostA, "DATABRICKS_TOKEN=t"})
	path := write(t, o, profiles)
	target, err := Resolve(o)
	if err != nil {
		t.Fatal(err)
	}
	found, err := target.Candidates()
	if err != nil || len(found) != 2 {
		t.Fatalf("found %v, %v", found, err)
	}
	for i, want := range []struct {
		source, value string
		rewritten     bool
	}{{"DATABRICKS_TOKEN", "t", false}, {"profile DEFAULT in " + path, "token-default", true}} {
		if c := found[i]; c.Source != want.source || c.Token.Expose() != want.value || c.Rewritten != want.rewritten || c.Token.Host.String() != hostA {
			t.Errorf("candidate %d = %+v (%s), want %+v", i, c, c.Token.Host, want)
		}
	}

	// What the file says is read anew each time.
	write(t, o, strings.ReplaceAll(profiles, "token-default", "pasted"))
	if found, err = target.Candidates(); err != nil || found[1].Token.Expose() != "pasted" {
		t.Errorf("found %v, %v", found, err)
	}
	// A token never goes to another host than the one that it stands beside.
	write(t, o, strings.ReplaceAll(profiles, hostA, hostB))
	if found, err = target.Candidates(); err == nil {
		t.Errorf("found %v for %s in a profile of %s", found, hostA, hostB)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if found, err = target.Candidates(); err != nil || len(found) != 1 {
		t.Errorf("without a file: found %v, %v", found, err)
	}
}
