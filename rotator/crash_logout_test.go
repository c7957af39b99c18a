package rotator_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"patrol/rotator"
	"patrol/rotator/ledger"
	"patrol/rotator/pat"
	"patrol/rotator/workspacetest"
)

var logoutCalls = []string{"POST /api/2.0/token/delete", "GET /api/2.0/token/list"}

// logoutSteps are the points that a logout comes to. The mark that there was one
// is at the stage "left".
func logoutSteps() []string {
	return append(recordSteps("left", "retiring", "revoked"), fileSteps()...)
}

// blanks are the credential files after a logout.
func blanks(host string) map[string]string {
	return map[string]string{
		".databrickscfg": "# mine\n[DEFAULT]\nhost = " + host + "\n\n[other]\ntoken = dapi-other\n",
		"settings.json":  `{"env":{"ANTHROPIC_BASE_URL":"` + host + `"},"n":1e400}`,
		"auth.json":      `{"openai":{"type":"api","key":"sk-real"}}`,
	}
}

// logoutOnce is the role of a process that logs out, alone.
func logoutOnce(args []string) int {
	m := machine{dir: args[0], host: args[1]}
	r, err := m.start(slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})), time.Now)
	if err == nil {
		defer r.stop()
		_, err = r.Logout(context.Background())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func init() { roles["logout"] = logoutOnce }

// signIn leaves behind a token in use, and one that is still to be revoked.
func (s *site) signIn() {
	s.Helper()
	s.write(s.T, s.ws.Issue(workspacetest.IssueOptions{Lifetime: 24 * time.Hour}).Value)
	s.recover()
	r := s.start(time.Now)
	defer r.stop()
	err := r.Start(s.Context())
	if err == nil {
		_, err = r.Rotate(s.Context(), "test")
	}
	if err != nil || len(s.ours()) != 2 {
		s.Fatalf("%d tokens of ours live, want 2: %v", len(s.ours()), err)
	}
	s.ws.Forget()
}

// ours are the tokens that live and that this patrol is to revoke at a logout.
func (s *site) ours() []workspacetest.Token {
	return slices.DeleteFunc(s.ws.Live(), func(t workspacetest.Token) bool { return slices.Contains(s.foreign, t.ID) })
}

// finishLogout starts patrol again, logs out once more, and signs in anew. As
// long as a file holds a token, the second logout leaves none of ours. Once none
// does, nobody can revoke the rest: the ledger has it until the next login.
func (s *site) finishLogout() {
	s.Helper()
	s.wake()
	s.checkFiles("and started again")
	s.checkLedger("and started again")
	held := s.read()[".databrickscfg"] != blanks(s.host)[".databrickscfg"]
	r := s.start(time.Now)
	d, err := r.Logout(s.Context())
	r.stop()
	if err != nil {
		s.Errorf("a second logout: %v", err)
	}
	if held && len(s.ours()) > 0 {
		s.Errorf("%d tokens of ours live after a second logout: %+v", len(s.ours()), d)
	}
	for name, content := range s.read() {
		if content != blanks(s.host)[name] {
			s.Errorf("after a second logout %s is\n%s", name, s.anonymous(content))
		}
	}
	s.checkLedger("and logged out again")
	s.signInAgain()
}

// wake starts patrol as a service until it has a token, or knows that it is
// logged out.
func (s *site) wake() {
	s.Helper()
	r := s.start(time.Now)
	defer r.stop()
	err := r.Start(s.Context())
	out, _ := r.ledger.LoggedOut()
	switch {
	case errors.Is(err, rotator.ErrNeedsLogin) && out && strings.Contains(err.Error(), "patrol login"):
	case err == nil && !out && r.Current().Same(r.proxy.token()):
	default:
		s.Errorf("started again: %v; logged out: %v", err, out)
	}
}

// signInAgain brings a new token, and waits until everything that was left over
// is revoked.
func (s *site) signInAgain() {
	s.Helper()
	tok := s.ws.Issue(workspacetest.IssueOptions{Lifetime: 24 * time.Hour})
	r := s.start(time.Now)
	defer r.stop()
	if _, err := r.Login(s.Context(), pat.New(tok.Value, s.host)); err != nil {
		s.Error(err)
	}
	ctx, cancel := context.WithCancel(s.Context())
	done := make(chan struct{})
	defer func() { cancel(); <-done }()
	go func() {
		defer close(done)
		_ = r.Run(ctx)
	}()
	s.await("everything but the token in use is revoked", func() bool {
		time.Sleep(time.Millisecond)
		return len(s.ours()) == 1 && len(r.ledger.Pending()) == 1
	})
	pending := r.ledger.Pending()
	if live := s.ours(); live[0].ID != pending[0].ID || pending[0].Stage != ledger.Current || len(s.ws.Live()) != len(s.foreign)+1 {
		s.Errorf("%v live, and the ledger has %v", s.ws.Live(), pending)
	}
}
