package main

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"patrol/rotator/ledger"
	"patrol/rotator/pat"
	"patrol/rotator/workspace"
)

func TestJudgeUpstream(t *testing.T) {
	for _, test := range []struct {
		status int
		err    error
		want   string
	}{
		{200, nil, gradeOK},
		{404, nil, gradeOK},
		{405, nil, gradeOK},
		{429, nil, gradeOK},
		{302, nil, gradeWarn},
		{503, nil, gradeWarn},
		{401, nil, gradeFail},
		{403, nil, gradeFail},
		{0, errors.New("refused"), gradeFail},
	} {
		f := judgeUpstream("--upstream", "https://w.example/x", test.status, test.err)
		if f.Status != test.want || (f.Mend == "") != (test.want == gradeOK) || !strings.Contains(f.What, "https://w.example/x") {
			t.Errorf("%d, %v: %+v, want %s", test.status, test.err, f, test.want)
		}
	}
}

func TestJudgeSkew(t *testing.T) {
	for skew, want := range map[time.Duration]string{
		0: gradeOK, -59 * time.Second: gradeOK, 59 * time.Second: gradeOK,
		time.Minute: gradeWarn, -9 * time.Minute: gradeWarn, 10 * time.Minute: gradeFail, -time.Hour: gradeFail,
	} {
		if f := judgeSkew(skew); f.Status != want || strings.Contains(f.What, "-") && f.Status != gradeOK {
			t.Errorf("%v: %+v, want %s", skew, f, want)
		}
	}
	if f := judgeSkew(time.Hour); !strings.Contains(f.What, "1h0m0s behind the workspace") {
		t.Errorf("a workspace that is ahead: %+v", f)
	}
}

func TestJudgeList(t *testing.T) {
	grade := func(n int, err error) string {
		found := judgeList("https://w.example", make([]pat.Info, n), err)
		return found[len(found)-1].Status
	}
	for _, test := range []struct {
		n    int
		err  error
		want string
	}{
		{1, nil, gradeOK},
		{539, nil, gradeOK},
		{540, nil, gradeWarn},
		{600, nil, gradeFail},
		{0, workspace.ErrInvalidToken, gradeFail},
		{0, workspace.ErrPermission, gradeWarn},
		{0, errors.New("no network"), gradeFail},
	} {
		if got := grade(test.n, test.err); got != test.want {
			t.Errorf("%d tokens, %v: %s, want %s", test.n, test.err, got, test.want)
		}
	}
}

func TestJudgeOrphans(t *testing.T) {
	token := func(id, comment string) pat.Info { return pat.Info{ID: id, Comment: comment} }
	list := []pat.Info{
		token("a", pat.Comment("me", "00000000000000a1")), token("b", pat.Comment("me", "00000000000000a2")), token("c", pat.Comment("me", "00000000000000a3")),
		token("d", pat.Comment("you", "00000000000000a1")), token("e", pat.Comment("you", "00000000000000a2")), token("f", pat.Comment("other", "00000000000000a0")), token("g", "CI"), token("h", ""),
	}
	entries := []ledger.Entry{{Nonce: "00000000000000a1", Info: pat.Info{ID: "a"}}, {Nonce: "00000000000000a2", Stage: ledger.Intended}}
	found := judgeOrphans(list, "me", entries)
	if len(found) != 2 || found[0].Status != gradeWarn || !strings.Contains(found[0].What, "token c ") ||
		found[1].Status != gradeOK || !strings.HasSuffix(found[1].What, ": other (1), you (2)") {
		t.Errorf("%+v", found)
	}
	if found := judgeOrphans(list, "", nil); len(found) != 2 || found[0].Status != gradeOK {
		t.Errorf("without a ledger all are others': %+v", found)
	}
}

// grades returns the grades of findings, in order.
func grades(found []finding) (all string) {
	for _, f := range found {
		all += f.Status + " "
	}
	return strings.TrimSpace(all)
}

func TestCheckEnvironment(t *testing.T) {
	for _, test := range []struct {
		environ []string
		want    string
	}{
		{nil, gradeOK},
		{[]string{"DATABRICKS_TOKEN="}, gradeOK},
		{[]string{"DATABRICKS_CONFIG_PROFILE=x", "DATABRICKS_CLUSTER_ID=c"}, gradeOK},
		{[]string{"DATABRICKS_TOKEN=x"}, gradeFail},
		{[]string{"DATABRICKS_CLIENT_ID=x"}, gradeFail},
		{[]string{"DATABRICKS_HOST=https://w.example"}, gradeFail},
		{[]string{"DATABRICKS_HOST=w.example", "DATABRICKS_CONFIG_PROFILE=x"}, gradeOK},
		{[]string{"DATABRICKS_HOST=https://v.example", "DATABRICKS_CONFIG_PROFILE=x"}, gradeFail},
	} {
		p := &patient{app: &app{environ: test.environ}}
		p.profile.Host = "https://w.example"
		if got := grades(checkEnvironment(t.Context(), p)); got != test.want {
			t.Errorf("%v: %s, want %s", test.environ, got, test.want)
		}
	}
}

func TestCheckAgentEnv(t *testing.T) {
	const token = "dapi0123456789abcdef"
	for _, test := range []struct {
		environ []string
		want    string
	}{
		{nil, gradeOK},
		{[]string{"ANTHROPIC_BASE_URL=http://127.0.0.1:4000", "ANTHROPIC_AUTH_TOKEN=" + token}, gradeOK},
		{[]string{"OPENAI_BASE_URL=http://localhost:4000/v1", "OPENAI_API_KEY=patrol"}, gradeOK},
		{[]string{"OPENAI_BASE_URL=http://localhost:4001/v1"}, gradeWarn},
		{[]string{"ANTHROPIC_BASE_URL=https://api.anthropic.com", "ANTHROPIC_API_KEY=sk"}, gradeWarn},
		{[]string{"OPENAI_API_KEY=sk-real"}, gradeOK},
		{[]string{"OPENAI_API_KEY=" + token}, gradeWarn},
		{[]string{"OPENAI_BASE_URL=%", "ANTHROPIC_AUTH_TOKEN=known"}, gradeWarn + " " + gradeWarn},
	} {
		p := &patient{app: &app{environ: test.environ}, entries: []ledger.Entry{{Hash: pat.Hash("known")}}}
		if err := parseListen(&p.o, setting{flag: "listen", values: []string{"127.0.0.1:4000"}}); err != nil {
			t.Fatal(err)
		}
		found := checkAgentEnv(t.Context(), p)
		if got := grades(found); got != test.want {
			t.Errorf("%v: %+v, want %s", test.environ, found, test.want)
		}
	}
}

func TestCheckState(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no modes")
	}
	p := &patient{dir: filepath.Join(t.TempDir(), "state")}
	check := func(want string) {
		t.Helper()
		if found := checkState(t.Context(), p); grades(found) != want {
			t.Errorf("%+v, want %s", found, want)
		}
	}
	check(gradeOK)
	if err := os.Mkdir(p.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	check(gradeOK)
	if left, err := os.ReadDir(p.dir); err != nil || len(left) > 0 {
		t.Errorf("it leaves behind %v, %v", left, err)
	}
	for _, name := range []string{"ledger", "ledger.corrupt-20261101T000000Z"} {
		if err := os.WriteFile(filepath.Join(p.dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	check(gradeWarn)
	if err := os.Chmod(filepath.Join(p.dir, "ledger"), 0o644); err != nil {
		t.Fatal(err)
	}
	check(gradeFail + " " + gradeWarn)
	if err := os.Chmod(p.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	check(gradeFail)
	if runtime.GOOS == "linux" { // a folder of ours where not even root can make a file
		p.dir = "/proc/self/map_files"
		check(gradeFail)
	}
	p.dir = t.TempDir()
	p.status.Ledger = "no space left on device"
	check(gradeFail)
	if found := checkState(t.Context(), p); !strings.Contains(found[0].What, "no space left") || !strings.Contains(found[0].Mend, p.dir) {
		t.Errorf("%+v", found)
	}
}

func TestCheckPorts(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &patient{o: options{listen: []listenAddr{{addr: addrOf(ln)}}}}
	if found := checkPorts(t.Context(), p); grades(found) != gradeFail || found[0].Mend == "" {
		t.Errorf("a port in use: %+v", found)
	}
	ln.Close()
	if found := checkPorts(t.Context(), p); grades(found) != gradeOK {
		t.Errorf("a free port: %+v", found)
	}
}

// TestDoctorOfAMuteService ends in time, though nobody answers.
func TestDoctorOfAMuteService(t *testing.T) {
	t.Parallel()
	home, dir := t.TempDir(), t.TempDir()
	ln, err := net.Listen("unix", filepath.Join(dir, controlName))
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	// An address that swallows what is sent to it.
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	cfg := "[DEFAULT]\nhost = http://" + silent.Addr().String() + "\ntoken = dapi0123456789abcdef\n"
	if err := os.WriteFile(filepath.Join(home, ".databrickscfg"), []byte(cfg), 0o600); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	code := run(context.Background(), []string{"doctor", "--state-dir", dir, "--listen", "127.0.0.1:0"},
		[]string{"HOME=" + home, "XDG_RUNTIME_DIR=" + dir}, strings.NewReader(""), &out, &out)
	if code != exitFailed || !strings.Contains(out.String(), "FAIL  socket") || !strings.Contains(out.String(), "doesn't answer") ||
		!strings.Contains(out.String(), "FAIL  workspace") || strings.Contains(out.String(), "dapi0123") {
		t.Errorf("exit code %d:\n%s", code, out.String())
	}
}
