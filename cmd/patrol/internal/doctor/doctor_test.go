package doctor

import (
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"patrol/cmd/patrol/internal/cli"
	"patrol/cmd/patrol/internal/control"
	"patrol/proxy"
	"patrol/rotator"
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
		var found findings
		judgeUpstream(&found, proxy.Upstream{Setting: "--upstream", URL: "https://w.example/x"}, test.status, test.err)
		if f := found.list[0]; f.Status != test.want || (f.Fix == "") != (test.want == gradeOK) || !strings.Contains(f.What, "https://w.example/x") {
			t.Errorf("%d, %v: %+v, want %s", test.status, test.err, f, test.want)
		}
	}
}

// What names one of a host's workspaces stays at the end of an upstream's URL.
func TestAskUpstream(t *testing.T) {
	var asked string
	site := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { asked = r.RequestURI }))
	defer site.Close()
	in := &input{token: pat.New("t", site.URL), upstreams: []proxy.Upstream{{Setting: "--host", URL: site.URL + "/serving-endpoints?o=7"}}}
	var found findings
	for _, check := range in.upstreamChecks() {
		check.make(t.Context(), in, &found)
	}
	if grades(found) != gradeOK || asked != "/serving-endpoints/models?o=7" {
		t.Errorf("asked for %s: %+v", asked, found)
	}
}

func TestJudgeSkew(t *testing.T) {
	for skew, want := range map[time.Duration]string{
		0: gradeOK, -59 * time.Second: gradeOK, 59 * time.Second: gradeOK,
		time.Minute: gradeWarn, -9 * time.Minute: gradeWarn, 10 * time.Minute: gradeFail, -time.Hour: gradeFail,
	} {
		var found findings
		judgeSkew(&found, skew)
		if f := found.list[0]; f.Status != want || strings.Contains(f.What, "-") && f.Status != gradeOK {
			t.Errorf("%v: %+v, want %s", skew, f, want)
		}
	}
	var found findings
	judgeSkew(&found, time.Hour)
	if f := found.list[0]; !strings.Contains(f.What, "1h0m0s behind the workspace") {
		t.Errorf("a workspace that is ahead: %+v", f)
	}
}

func TestJudgeList(t *testing.T) {
	grade := func(n int, err error) string {
		var found findings
		judgeList(&found, "https://w.example", n, err)
		return found.list[len(found.list)-1].Status
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
	const folder = "0a0b0c"
	token := func(id, instance, nonce string) pat.Info {
		return pat.Info{ID: id, Comment: pat.Comment(instance, nonce)}
	}
	list := []pat.Info{
		token("a", "me", folder+"00000000a1"), token("b", "me", folder+"00000000a2"), token("c", "me", folder+"00000000a3"),
		token("d", "you", folder+"00000000a1"),
		{ID: "e", Comment: "CI"},
		{ID: "f"},
		token("g", "me", "0d0e0f00000000a1"), // another machine's with the same --instance, or version 1's
	}
	entries := []ledger.Entry{{Nonce: folder + "00000000a1", Info: pat.Info{ID: "a"}}, {Nonce: folder + "00000000a2", Stage: ledger.Intended}}
	var found findings
	judgeOrphans(&found, list, "me", folder, entries)
	if len(found.list) != 1 || found.list[0].Status != gradeWarn || !strings.Contains(found.list[0].What, "token c ") {
		t.Errorf("%+v", found)
	}
	var unknown findings
	judgeOrphans(&unknown, list, "", "", nil)
	if grades(unknown) != gradeOK {
		t.Errorf("without a ledger all are others': %+v", unknown)
	}
}

// grades returns the grades of findings, in order.
func grades(found findings) (all string) {
	for _, f := range found.list {
		all += f.Status + " "
	}
	return strings.TrimSpace(all)
}

// withEnv is options of a command that was started with this environment.
func withEnv(env cli.Env) cli.Options { return cli.Options{Process: cli.Process{Env: env}} }

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
		in, found := &input{o: withEnv(test.environ)}, findings{}
		in.profile.read.Host = "https://w.example"
		checkEnvironment(t.Context(), in, &found)
		if got := grades(found); got != test.want {
			t.Errorf("%v: %s, want %s", test.environ, got, test.want)
		}
	}
}

func TestCheckAgents(t *testing.T) {
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
		in, found := &input{o: withEnv(test.environ), entries: []ledger.Entry{{Hash: pat.Hash("known")}}}, findings{}
		in.o.Listen = []cli.ListenAddr{{AddrPort: netip.MustParseAddrPort("127.0.0.1:4000")}}
		checkAgents(t.Context(), in, &found)
		if got := grades(found); got != test.want {
			t.Errorf("%v: %+v, want %s", test.environ, found, test.want)
		}
	}
}

func TestCheckState(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no modes")
	}
	in := &input{dir: filepath.Join(t.TempDir(), "state")}
	check := func(want string) Finding {
		t.Helper()
		var found findings
		if checkState(t.Context(), in, &found); grades(found) != want {
			t.Errorf("%+v, want %s", found, want)
		}
		return found.list[0]
	}
	check(gradeOK)
	if err := os.Mkdir(in.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	check(gradeOK)
	if left, err := os.ReadDir(in.dir); err != nil || len(left) > 0 {
		t.Errorf("it leaves behind %v, %v", left, err)
	}
	for _, name := range []string{"ledger", "ledger.corrupt-20261101T000000Z"} {
		if err := os.WriteFile(filepath.Join(in.dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	check(gradeOK + " " + gradeWarn)
	if err := os.Chmod(in.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	check(gradeFail)
	if runtime.GOOS == "linux" { // a folder of ours where not even root can make a file
		in.dir = "/proc/self/map_files"
		check(gradeFail)
	}
	in.dir = t.TempDir()
	in.service.status.Ledger = "no space left on device"
	if f := check(gradeFail); !strings.Contains(f.What, "no space left") || !strings.Contains(f.Fix, in.dir) {
		t.Errorf("%+v", f)
	}
}

func TestCheckPorts(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	in := &input{o: cli.Options{Listen: []cli.ListenAddr{{AddrPort: ln.Addr().(*net.TCPAddr).AddrPort()}}}}
	in.service.err = control.ErrNoService
	var taken, free findings
	if checkPorts(t.Context(), in, &taken); grades(taken) != gradeFail || taken.list[0].Fix == "" {
		t.Errorf("a port in use: %+v", taken)
	}
	ln.Close()
	if checkPorts(t.Context(), in, &free); grades(free) != gradeOK {
		t.Errorf("a free port: %+v", free)
	}
}

func TestOwnListener(t *testing.T) {
	addrs := []cli.ListenAddr{
		{AddrPort: netip.MustParseAddrPort("127.0.0.1:4000")},
		{AddrPort: netip.MustParseAddrPort("127.0.0.1:80")},
		{AddrPort: netip.MustParseAddrPort("0.0.0.0:5000")},
		{AddrPort: netip.MustParseAddrPort("192.0.2.7:6000")},
	}
	for raw, want := range map[string]bool{
		"http://127.0.0.1:4000":        true,
		"http://localhost:4000/v1":     true,
		"https://LOCALHOST:4000":       true,
		"http://[::ffff:127.0.0.1]:80": true,
		"http://127.0.0.1":             true,
		"http://127.0.0.1:4001":        false,
		"http://[::1]:4000":            false,
		"https://127.0.0.1":            false,
		"https://w.example:4000":       false,
		"http://127.0.0.1:5000":        true,
		"http://[::1]:5000":            true,
		"http://localhost:5000":        true,
		"http://192.0.2.7:5000":        false,
		"http://192.0.2.7:6000":        true,
	} {
		u, err := url.Parse(raw)
		if err != nil {
			t.Fatal(err)
		}
		if got := isOwnListener(u, addrs); got != want {
			t.Errorf("%s: %v, want %v", raw, got, want)
		}
	}
}

func TestCheckServiceOldToken(t *testing.T) {
	in := new(input)
	in.service.status = control.Status{
		Running: true, Status: rotator.Status{Ready: true},
		Service: &control.Ping{Control: control.Version, Version: cli.Version()}, Proxy: &control.Proxy{},
	}
	for at, want := range map[time.Time]string{{}: gradeOK, time.Now().Add(-time.Hour): gradeOK + " " + gradeWarn} {
		in.service.status.Proxy.ReplacedTokenAt = at
		var found findings
		checkService(t.Context(), in, &found)
		if grades(found) != want {
			t.Errorf("an agent with an old token at %v: %+v, want %s", at, found, want)
		}
		if last := found.list[len(found.list)-1]; want != gradeOK && !strings.Contains(last.Fix, "restart that agent") {
			t.Errorf("%+v", last)
		}
	}
}
