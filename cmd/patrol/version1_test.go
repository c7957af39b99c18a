//go:build unix

package main

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"patrol/rotator/ledger"
	"patrol/rotator/workspacetest"
)

// headerOfVersion1 is the first line of its ledger. It must stay, or nobody could
// go back.
const headerOfVersion1 = `0413cd15 {"patrol_ledger":1,"instance":"old"}` + "\n"

// transplant makes a recorded state folder of version 1 this site's: with its
// workspace, its tokens, its home and its time. It returns the value of the token
// that the ledger calls current, "" if none is.
func (s *site) transplant(t *testing.T, name string) (current string) {
	t.Helper()
	from := filepath.Join("testdata", "version1", name)
	_, entries, err := ledger.Read(from)
	if err != nil || len(entries) == 0 {
		t.Fatal(entries, err)
	}
	changes := []string{entries[0].Host.String(), s.url, "/tmp/TestRecordV12347281491/001", s.app.getenv("HOME")}
	last := entries[0].At
	for _, e := range entries {
		if e.At.After(last) {
			last = e.At
		}
		if e.ID == "" || e.Stage.Ended() {
			continue
		}
		issued := s.Issue(workspacetest.IssueOptions{Comment: e.Comment, Lifetime: e.Expiry.Sub(e.Created)})
		changes = append(changes, e.ID, issued.ID)
		if e.Stage == ledger.Current {
			current = issued.Value
		}
	}
	if err := os.MkdirAll(s.state, 0o700); err != nil {
		t.Fatal(err)
	}
	later := time.Since(last)
	date := regexp.MustCompile(`"20\d\d-\d\d-\d\dT[^"]*Z"`)
	for _, file := range []string{"ledger", "instance", "holder"} {
		raw, err := os.ReadFile(filepath.Join(from, file))
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		for line := range strings.Lines(string(raw)) {
			sum, text, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
			if file == "holder" || !ok || fmt.Sprintf("%08x", crc32.ChecksumIEEE([]byte(text))) != sum {
				if file != "holder" {
					t.Fatalf("not a line of version 1: %s", line)
				}
				out.WriteString(line)
				continue
			}
			text = strings.NewReplacer(changes...).Replace(text)
			text = date.ReplaceAllStringFunc(text, func(at string) string {
				then, err := time.Parse(`"`+time.RFC3339Nano+`"`, at)
				if err != nil {
					t.Fatal(err)
				}
				return then.Add(later).Format(`"` + time.RFC3339Nano + `"`)
			})
			_, _ = fmt.Fprintf(&out, "%08x %s\n", crc32.ChecksumIEEE([]byte(text)), text)
		}
		if err := os.WriteFile(filepath.Join(s.state, file), out.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return current
}

// staysVersion1 makes sure that version 1 can read the ledger again.
func (s *site) staysVersion1(t *testing.T) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(s.state, "ledger"))
	if err != nil || !strings.HasPrefix(string(raw), headerOfVersion1) {
		t.Errorf("%v: version 1 can't read this: %.80s", err, raw)
	}
}

// The state of a service of version 1 is taken over: its current token is used, and
// what it had still to revoke is revoked.
func TestUpgradeTakesStateOver(t *testing.T) {
	t.Parallel()
	s := newSite(t, workspacetest.Config{})
	for _, token := range s.Live() {
		s.Revoke(token.ID)
	}
	current := s.transplant(t, "retiring")
	s.app.write(t, ".databrickscfg", fmt.Sprintf("[DEFAULT]\nhost = %s\ntoken = %s\n", s.url, current))
	if n := len(s.Live()); n != 5 {
		t.Fatalf("%d tokens live", n)
	}
	p, proxy := s.serve(t, "--grace", "0s")
	if status, body, err := chat(proxy); err != nil || status != http.StatusOK {
		t.Errorf("%d %s %v", status, body, err)
	}
	await(t, func() bool { return len(s.Live()) == 1 && s.Live()[0].Value == current })
	if r := s.report(t); r.Instance != "old" || s.minted() != 0 || strings.Contains(p.output(), "WARN") {
		t.Errorf("instance %s, %d minted: %s", r.Instance, s.minted(), p.output())
	}
	p.ends(t)
	s.staysVersion1(t)
}

// A ledger that is lost leaves the name of the instance.
func TestUpgradeTakesInstanceOver(t *testing.T) {
	t.Parallel()
	s := newSite(t, workspacetest.Config{})
	s.transplant(t, "loggedout")
	if err := os.Remove(filepath.Join(s.state, "ledger")); err != nil {
		t.Fatal(err)
	}
	p, _ := s.serve(t)
	if r := s.report(t); !strings.HasPrefix(r.Token.Comment, "patrol/old/") {
		t.Errorf("a new token is %s", r.Token.Comment)
	}
	p.ends(t)
	s.staysVersion1(t)
}

// Who has logged out of version 1 stays so, until a login.
func TestUpgradeStaysLoggedOut(t *testing.T) {
	t.Parallel()
	s := newSite(t, workspacetest.Config{})
	s.transplant(t, "loggedout")
	s.app.write(t, ".databrickscfg", fmt.Sprintf("[DEFAULT]\nhost = %s\n", s.url))
	p := s.patrol(t, "serve", "--listen", "127.0.0.1:0")
	await(t, func() bool { return strings.Contains(p.output(), "looking for one") })
	if r := s.report(t); !r.NeedsLogin || !strings.Contains(r.Problem, "logged out") {
		t.Errorf("%+v", r)
	}
	login := exec.CommandContext(t.Context(), "patrol", "login")
	login.Env, login.Stdin = s.app.environ, strings.NewReader(s.Issue(workspacetest.IssueOptions{}).Value+"\n")
	if out, err := login.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	s.awaitReady(t)
	p.ends(t)
	s.staysVersion1(t)
}
