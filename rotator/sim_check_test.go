package rotator_test

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"patrol/rotator/ledger"
	"patrol/rotator/workspacetest"
)

// check looks at the invariants.
func (s *simulation) check() {
	s.Helper()
	live := s.ws.Live()
	ours, foreign := map[string]bool{}, 0
	var pending []ledger.Entry
	inFile, inProxy := s.tokenInFile(), s.proxy.token().Expose()
	for _, t := range live {
		ours[t.Value] = true
		if slices.Contains(s.foreign, t.ID) {
			foreign++
		}
		if t.Value == inProxy || !strings.HasPrefix(t.Comment, "patrol/"+s.ledger.Instance()+"/") {
			continue
		}
		if pending == nil {
			pending = s.ledger.Pending()
		}
		if !slices.ContainsFunc(pending, func(e ledger.Entry) bool { return e.ID == t.ID || e.Comment == t.Comment }) {
			s.Fatalf("I2: token %s lives, isn't in use, and the ledger has forgotten it\n%s", t.ID, s.story())
		}
	}
	if foreign < len(s.foreign) {
		s.Fatalf("I2: a token that isn't ours was revoked\n%s", s.story())
	}
	for place, value := range map[string]string{"the profile": inFile, "the proxy": inProxy} {
		if value != "" && !ours[value] && s.revoked(value) {
			s.Fatalf("I1: %s holds a token that was revoked\n%s", place, s.story())
		}
	}
	s.survive(ours[inFile])
}

// checkRevoke is called when the workspace has answered a request to revoke.
// Whatever was revoked must not stand in the profile any more.
func (s *simulation) checkRevoke() {
	if s.Failed() {
		return // once is enough
	}
	text, err := readProfile(s.cfgPath())
	if err != nil {
		s.Error(err)
	}
	_, value, _ := strings.Cut(text, "token = ")
	value, _, _ = strings.Cut(value, "\n")
	if value != s.putBack && !s.lives(value) && s.revoked(value) {
		s.Errorf("I1: a token was revoked that the profile holds\n%s", s.story())
	}
}

// A witness sees what was asked of the workspace, once that has answered.
type witness struct {
	way http.RoundTripper
	saw func(path string, failed bool)
}

func (w *witness) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := w.way.RoundTrip(r)
	w.saw(r.URL.Path, err != nil || resp.StatusCode != http.StatusOK)
	return resp, err
}

// sawCall is called with each call that was answered, or wasn't.
func (s *simulation) sawCall(path string, failed bool) {
	if path == deletePath {
		s.checkRevoke()
	}
	now := s.serverNow()
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case !s.down:
	case path == createPath && failed:
		s.calls.creates = append(s.calls.creates, now)
	case path == listPath:
		s.calls.lists = append(s.calls.lists, now)
	}
}

// revoked reports whether a token that is dead was revoked, and didn't expire. It
// remembers, since a year has thousands of tokens and an outage one that is dead for
// days.
func (s *simulation) revoked(value string) bool {
	s.mu.Lock()
	revoked, known := s.ends[value]
	s.mu.Unlock()
	if known {
		return revoked
	}
	revoked = slices.ContainsFunc(s.ws.Tokens(), func(t workspacetest.Token) bool { return t.Value == value && t.Revoked })
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ends[value] = revoked
	return revoked
}

// tokenInFile is the token in the profile. Nothing but that may change there.
func (s *simulation) tokenInFile() string {
	s.Helper()
	cfg, err := readProfile(s.cfgPath())
	if err != nil {
		s.Fatal(err)
	}
	rest, ok := strings.CutPrefix(cfg, profileHead)
	if value, ours := strings.CutPrefix(rest, "token = "); ok && ours {
		value, rest, _ = strings.Cut(value, "\n")
		if rest == "" || rest == otherAuth {
			return value
		}
	}
	s.Fatalf("I3: the profile became\n%s", cfg)
	return ""
}

const (
	profileHead = "[DEFAULT]\nhost = " + host + "\n"
	otherAuth   = "client_id = x\nclient_secret = y\n"
)

// survive makes sure that patrol has a token that works, or knows that it has
// none and had no chance to get one: then somebody brings one. It is told
// whether the token in the profile works.
func (s *simulation) survive(works bool) {
	s.Helper()
	if s.rate == 1 || works && s.r.Ready() == nil {
		return
	}
	s.setRate(0)
	s.note("something is wrong: nothing fails until patrol knows", 0)
	ready := false
	for range 20 { // a pause between two tries may be as long as that many minutes
		s.pass(time.Minute)
		if works, ready = s.lives(s.tokenInFile()), s.r.Ready() == nil; works == ready {
			break
		}
	}
	switch {
	case works && ready, ready && s.r.Status().Files[0].Error != "":
		return
	case works || ready:
		s.Fatalf("the token works: %v; patrol says that it is ready: %v\n%s", works, ready, s.story())
	case s.doomed == "" || s.tokenInFile() != s.doomed:
		s.Fatalf("the chain died while patrol ran\n%s", s.story())
	}
	s.login()
	s.pass(2 * time.Minute)
	if err := s.r.Ready(); err != nil {
		s.Fatalf("a new token stands in the profile: %v\n%s", err, s.story())
	}
}

func (s *simulation) lives(value string) bool {
	return slices.ContainsFunc(s.ws.Live(), func(t workspacetest.Token) bool { return t.Value == value })
}

// calm is how a seed ends.
func (s *simulation) calm() {
	s.Helper()
	s.setRate(0)
	s.awake(2 * time.Hour)
	s.settle()
}

// settle lets the queue empty, while nothing fails: one token of ours lives then.
func (s *simulation) settle() {
	s.Helper()
	s.setRate(0)
	s.awake(15 * time.Minute) // a wait between two tries may be as long as 7 minutes
	for range 10 {            // a tick may just have come
		if len(s.r.Status().Retiring) > 0 {
			s.awake(time.Minute)
		}
	}
	live := slices.DeleteFunc(s.ws.Live(), func(t workspacetest.Token) bool { return slices.Contains(s.foreign, t.ID) })
	if len(live) != 1 || live[0].Value != s.profileToken() || live[0].Value != s.proxy.token().Expose() {
		s.Fatalf("%d tokens of ours live, want the one in use\n%s", len(live), s.story())
	}
}
