package cli

import (
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
)

// parse runs a command that takes every flag and returns its options.
func parse(t *testing.T, p Process, args ...string) (Options, error) {
	t.Helper()
	var got Options
	cmd := &cobra.Command{
		Use: "all", SilenceErrors: true, SilenceUsage: true,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			got, err = p.Options(cmd)
			return err
		},
	}
	for _, def := range flagDefs(new(Options)) {
		AddFlags(cmd, def.name)
	}
	cmd.SetArgs(args)
	err := cmd.Execute()
	return got, err
}

// canary is a token's value that no output may contain.
const canary = "dapi-canary-0123456789abcdef"

// newProcess returns a process with a home of its own and this environment
// besides.
func newProcess(t *testing.T, environ ...string) Process {
	t.Helper()
	env := append(Env{"HOME=" + t.TempDir()}, environ...)
	return Process{Env: env, Streams: Streams{In: strings.NewReader(""), Out: t.Output(), Err: t.Output()}}
}

func TestOptionsDefaults(t *testing.T) {
	o, err := parse(t, newProcess(t))
	if err != nil {
		t.Fatal(err)
	}
	var addrs []string
	for _, a := range o.Listen {
		addrs = append(addrs, a.String())
	}
	if want := []string{"127.0.0.1:4000", "[::1]:4000"}; !slices.Equal(addrs, want) {
		t.Errorf("listen = %v, want %v", addrs, want)
	}
	if o.Listen[0].Optional || !o.Listen[1].Optional {
		t.Error("a machine without IPv6 can't start with the defaults, or one without IPv4 can")
	}
	if o.Lifetime != 4*time.Hour || o.Grace != 5*time.Minute || o.CronSpec != "0 */3 * * *" {
		t.Errorf("lifetime %v, grace %v, schedule %q", o.Lifetime, o.Grace, o.CronSpec)
	}
	if o.Proxy.Upstream != "" || o.Instance != "" || o.StateDir != "" || o.Host.Given() || o.Profile.Given() {
		t.Errorf("something is set that nobody gave: %+v", o)
	}
	if o.Log.Level != slog.LevelInfo || o.Log.Format != FormatText {
		t.Errorf("log: %v %q", o.Log.Level, o.Log.Format)
	}
}

func TestOptionsPrecedence(t *testing.T) {
	a := newProcess(t, "PATROL_LIFETIME=2h", "PATROL_LISTEN= 127.0.0.1:1 , [::1]:2", "PATROL_GRACE=", "PATROL_STATE_DIR=/x/../state", "PATROL_LOG_LEVEL=DEBUG")
	o, err := parse(t, a, "--lifetime", "3h")
	if err != nil {
		t.Fatal(err)
	}
	if o.Lifetime != 3*time.Hour {
		t.Errorf("lifetime = %v: the flag doesn't win", o.Lifetime)
	}
	if len(o.Listen) != 4 || o.Listen[2].String() != "[::1]:2" || o.Listen[2].Optional {
		t.Errorf("listen = %+v", o.Listen)
	}
	if o.Grace != 5*time.Minute {
		t.Errorf("grace = %v: an empty variable isn't unset", o.Grace)
	}
	if o.StateDir != "/state" || o.Log.Level != slog.LevelDebug {
		t.Errorf("state-dir %q, level %v", o.StateDir, o.Log.Level)
	}
	o, err = parse(t, a, "--listen", "127.0.0.1:5", "--listen=127.0.0.1:6,127.0.0.1:0,127.0.0.1:0")
	if err != nil || len(o.Listen) != 8 {
		t.Errorf("listen = %+v, %v", o.Listen, err)
	}
}

func TestOptionsRefused(t *testing.T) {
	tests := []struct {
		name string
		env  string
		args []string
		says string // part of the message
		hint string // part of the hint
	}{
		{"lifetime 0", "", []string{"--lifetime=0"}, `--lifetime "0"`, "4h"},
		{"lifetime 0s", "", []string{"--lifetime=0s"}, `--lifetime "0s": a token that never lives`, "4h"},
		{"lifetime negative", "", []string{"--lifetime", "-4h"}, `--lifetime "-4h"`, "4h"},
		{"lifetime too small", "", []string{"--lifetime=300ms"}, "too short", "4h"},
		{"lifetime fraction", "", []string{"--lifetime=10.5s", "--grace=0s"}, "whole seconds", "10s"},
		{"lifetime without unit", "", []string{"--lifetime=4"}, "a unit is missing", "4h"},
		{"lifetime in days", "", []string{"--lifetime=1d"}, "not a duration", "90m"},
		{"lifetime by variable", "PATROL_LIFETIME=x", nil, `PATROL_LIFETIME "x"`, "4h"},
		{"lifetime within grace", "", []string{"--lifetime=5m"}, "not longer than --grace 5m0s", "raise --lifetime"},
		{"grace negative", "", []string{"--grace=-1s"}, `--grace "-1s": can't be negative`, "0s"},
		{"grace empty", "", []string{"--grace="}, `--grace "": a value is missing`, ""},
		{"schedule wrong", "", []string{"--schedule", "0 */3 * *"}, "expected exactly 5 fields", "five fields"},
		{"schedule never", "", []string{"--schedule", "0 0 31 2 *"}, "it never fires", "five fields"},
		{"listen port only", "", []string{"--listen=4000"}, "an address is missing", "127.0.0.1:4000"},
		{"listen no port", "", []string{"--listen=127.0.0.1"}, "host:port", "127.0.0.1:4000"},
		{"listen bad port", "", []string{"--listen=127.0.0.1:70000"}, "a port from 0 to 65535", ""},
		{"listen named port", "", []string{"--listen=localhost:http"}, "a port from 0 to 65535", ""},
		{"listen name", "", []string{"--listen=myhost:4000"}, "an IP address or localhost", ""},
		{"listen everywhere", "PATROL_LISTEN=:4000", nil, `PATROL_LISTEN ":4000": an address is missing`, "ssh -L"},
		{"listen in a zone", "", []string{"--listen=[fe80::1%eth0]:4000"}, "an IP address or localhost", ""},
		{"listen hole", "", []string{"--listen=127.0.0.1:1,,127.0.0.1:2"}, "a value is missing", ""},
		{"write unknown", "", []string{"--write=cursor"}, "cursor", "databrickscfg"},
		{"write without profile", "", []string{"--write=claude,opencode"}, "leaves out databrickscfg", ""},
		{"write auto and more", "", []string{"--write=auto", "--write=claude"}, "auto", ""},
		{"instance slash", "", []string{"--instance=a/b"}, "not a name", "64"},
		{"instance blank", "", []string{"--instance=a b"}, "not a name", ""},
		{"instance long", "", []string{"--instance=" + strings.Repeat("x", 65)}, "not a name", ""},
		{"level", "", []string{"--log-level=loud"}, "no such level", "debug, info, warn or error"},
		{"format", "", []string{"--log-format=xml"}, "no such format", "text or json"},
		{"upstream without scheme", "", []string{"--upstream=w.example/serving-endpoints"}, "--upstream", "serving-endpoints"},
		{"upstream in clear", "", []string{"--openai-upstream=http://w.example"}, "--openai-upstream http://w.example: the token may only go over https", ""},
		{"gateway in clear", "", []string{"--gateway=http://w.example"}, "only go over https", ""},
		{"upstream port", "", []string{"--upstream=https://w.example:0"}, "port", ""},
		{"upstream scheme", "", []string{"--upstream=ftp://127.0.0.1"}, "https://", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := parse(t, newProcess(t, tt.env), tt.args...)
			if err == nil {
				t.Fatal("accepted")
			}
			code, hint := CodeOf(err), HintOf(err)
			if code != ExitUsage {
				t.Errorf("exit code %d, want %d", code, ExitUsage)
			}
			if !strings.Contains(err.Error(), tt.says) {
				t.Errorf("says %q, want %q in it", err, tt.says)
			}
			if hint == "" || !strings.Contains(hint, tt.hint) {
				t.Errorf("hint %q, want %q in it", hint, tt.hint)
			}
		})
	}
}

func TestOptionsAccepted(t *testing.T) {
	for _, args := range [][]string{
		{"--lifetime=1s", "--grace=0s"},
		{"--lifetime=10s", "--grace=9s"},
		{"--listen=localhost:0"},
		{"--listen=127.8.9.10:4000"},
		{"--write=databrickscfg,claude", "--write=opencode"},
		{"--instance=laptop-1.work_x"},
		{"--upstream=https://1234.ai-gateway.cloud.databricks.com/mlflow/v1/"},
		{"--upstream=http://127.0.0.1:4001"},
		{"--schedule=CRON_TZ=Europe/Berlin 0 8-18 * * 1-5"},
	} {
		if _, err := parse(t, newProcess(t), args...); err != nil {
			t.Errorf("%v: %v", args, err)
		}
	}
}

// A secret in a flag stays out of the message about it.
func TestOptionsHideSecrets(t *testing.T) {
	for _, arg := range []string{
		"--upstream=https://user:" + canary + "@w.example",
		"--lifetime=" + canary, "--listen=" + canary, "--schedule=" + canary, "--schedule=@every " + canary, "--write=" + canary, "--write=auto," + canary,
		"--instance=x " + canary, "--log-level=" + canary,
	} {
		a := newProcess(t)
		var printed strings.Builder
		a.Err = &printed
		_, err := parse(t, a, arg)
		if code := Report(&printed, err, ""); code != ExitUsage {
			t.Errorf("%s: exit code %d, want %d", arg, code, ExitUsage)
		}
		if strings.Contains(printed.String(), canary) {
			t.Errorf("%s: %s", arg, printed.String())
		}
	}
}

// Every flag can be set by its variable, and the help says so.
func TestFlagsHaveVariables(t *testing.T) {
	cmd := &cobra.Command{Use: "all"}
	for _, def := range flagDefs(new(Options)) {
		AddFlags(cmd, def.name)
	}
	help := cmd.Flags().FlagUsages()
	for _, def := range flagDefs(new(Options)) {
		if !strings.Contains(help, "["+variable(def.name)+"]") {
			t.Errorf("the help doesn't name %s", variable(def.name))
		}
	}
	if strings.Contains(help, "`") {
		t.Errorf("backquotes in the help:\n%s", help)
	}
}
