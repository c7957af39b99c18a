package doctor

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"patrol/cmd/patrol/internal/cli"
	"patrol/cmd/patrol/internal/session"
	"patrol/cmd/patrol/internal/target"
	"patrol/rotator/ledger"
	"patrol/rotator/pat"
	"patrol/rotator/workspace"
)

// quota is how many tokens a user may have in a workspace that has no other
// limit. What it is can't be asked.
const quota = 600

// checkWorkspace: does the workspace take the token, do the clocks agree, is
// there room for another token, and has patrol lost track of any?
func checkWorkspace(ctx context.Context, in *input, f *findings) {
	switch {
	case in.host == "":
		f.warn("see profile", "not asked: it isn't known which one it is")
		return
	case in.token.IsZero():
		f.warn(in.login(), "%s was not asked: there is no token", in.host)
		return
	}
	client, err := in.client()
	if err != nil {
		f.err("", err)
		return
	}
	defer client.Close()
	list, err := client.As(pat.New(in.token.Expose(), in.host)).List(ctx)
	judgeList(f, client.Host().String(), len(list), err)
	if skew, known := client.Skew(); known {
		judgeSkew(f, skew)
	}
	if err == nil {
		// Read after the list, or a token minted meanwhile would look lost.
		if instance, entries, err := ledger.Read(in.dir); err == nil {
			judgeOrphans(f, list, instance, entries)
		}
	}
}

// client is a client of the workspace.
func (in *input) client() (*workspace.Client, error) {
	return workspace.New(workspace.Config{Host: in.host, UserAgent: cli.UserAgent(), RootCAs: in.o.Proxy.RootCAs, Timeout: patience})
}

// judgeList says what the answer to the question for the tokens means.
func judgeList(f *findings, host string, n int, err error) {
	switch {
	case errors.Is(err, workspace.ErrInvalidToken):
		f.fail("patrol login", "%s refuses the token as invalid, revoked or expired", host)
		return
	case errors.Is(err, workspace.ErrPermission):
		f.name = "quota"
		f.warn("nothing, if the token's scopes are meant to be narrow", "%s doesn't let this token list the user's tokens: quota and lost tokens are unknown", host)
		return
	case err != nil:
		f.fail("look at the network, HTTPS_PROXY, and --upstream-ca", "%v", err)
		return
	}
	f.ok("%s takes the token", host)
	f.name = "quota"
	const fix = "revoke some in the workspace: Settings, Developer, Access tokens"
	what := fmt.Sprintf("%d tokens of %d, unless the workspace has another limit", n, quota)
	switch {
	case n >= quota:
		f.fail(fix, "%s: the next mint is refused", what)
	case n >= quota*9/10:
		f.warn(fix, "%s", what)
	default:
		f.ok("%s", what)
	}
}

// judgeSkew says what it means that the workspace's clock is ahead.
func judgeSkew(f *findings, skew time.Duration) {
	const fix = "set this machine's clock, or have it set: NTP"
	f.name = "clock"
	behind, direction := skew.Round(time.Second), "behind"
	if behind < 0 {
		behind, direction = -behind, "ahead of"
	}
	switch {
	case behind >= 10*time.Minute:
		f.fail(fix, "this machine is %v %s the workspace: when a token expires is misjudged", behind, direction)
	case behind >= time.Minute:
		f.warn(fix, "this machine is %v %s the workspace", behind, direction)
	default:
		f.ok("this machine's agrees with the workspace's to %v", max(behind, time.Second))
	}
}

// judgeOrphans looks for tokens that bear this patrol's name and aren't in its
// ledger. Those of other patrols are theirs.
func judgeOrphans(f *findings, list []pat.Info, instance string, entries []ledger.Entry) {
	f.name = "lost"
	before, others := len(f.list), map[string]int{}
	for _, t := range list {
		owner, nonce, minted := pat.ParseComment(t.Comment)
		switch {
		case !minted:
		case owner != instance || instance == "":
			others[owner]++
		case !slices.ContainsFunc(entries, func(e ledger.Entry) bool { return e.ID == t.ID || e.Nonce == nonce }):
			f.warn("revoke it in the workspace: Settings, Developer, Access tokens; or let it expire",
				"token %s (%s) is patrol's, and the ledger doesn't know it%s", cli.TokenName(t.ID), t.Comment, cli.Expires(t.Expiry, time.Now()))
		}
	}
	if len(f.list) == before {
		f.ok("no token of this patrol's")
	}
	var names []string
	for _, owner := range slices.Sorted(maps.Keys(others)) {
		names = append(names, fmt.Sprintf("%s (%d)", owner, others[owner]))
	}
	if f.name = "others"; names != nil {
		f.ok("other patrols of this user have tokens too: %s", strings.Join(names, ", "))
	}
}

// checkMinter: can --mint-profile sign in?
func checkMinter(ctx context.Context, in *input, f *findings) {
	name := in.o.MintProfile // of the running service: see askService
	err := target.CheckMintProfile(name, in.profile.Profile)
	switch {
	case name == "":
		return
	case err == nil && in.host == "":
		f.warn("see profile", "not tried: it isn't known for which workspace")
		return
	}
	var client *workspace.Client
	if err == nil {
		client, err = in.client()
	}
	var m *session.Minter
	if err == nil {
		defer client.Close()
		m, err = session.NewMinter(ctx, client, in.profile.File, name)
	}
	if err != nil {
		f.err("", err)
		return
	}
	switch err := m.Try(ctx); {
	case errors.Is(err, workspace.ErrPermission):
		f.warn("let whom it signs in as use personal access tokens, in the workspace's settings", "%s signs in, and may not ask for tokens: %v", m, err)
	case err != nil:
		f.fail(m.Fix(), "%s can't mint when the token in use is dead: %v", m, err)
	default:
		f.ok("%s signs in", m)
	}
}

// checkUpstreams: do the places answer that requests are sent to?
func checkUpstreams(ctx context.Context, in *input, f *findings) {
	if in.token.IsZero() || len(in.upstreams) == 0 {
		f.warn("see profile and token", "not asked: there is no token")
		return
	}
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.TLSClientConfig.RootCAs = in.o.Proxy.RootCAs
	defer t.CloseIdleConnections()
	found := make([]findings, len(in.upstreams))
	var all sync.WaitGroup
	for i, u := range in.upstreams {
		found[i].name = f.name
		all.Go(func() {
			status, err := get(ctx, t, u.URL+"/models", in.token)
			judgeUpstream(&found[i], u.Setting, u.URL, status, err)
		})
	}
	all.Wait()
	for _, of := range found {
		f.list = append(f.list, of.list...)
	}
}

// judgeUpstream says what the answer of an upstream means. Databricks has no
// list of models at most of them: 404 is a good answer.
func judgeUpstream(f *findings, setting, at string, status int, err error) {
	switch {
	case err != nil:
		f.fail("look at the network and at "+setting, "%s doesn't answer: %v", at, err)
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		f.fail("the token's user needs the right to query model endpoints there; or "+setting+" names another place", "%s refuses the token (%d)", at, status)
	case status/100 == 3:
		f.warn("look at "+setting, "%s redirects (%d), which patrol doesn't follow", at, status)
	case status >= 500:
		f.warn("try again later", "%s answers %d", at, status)
	default:
		f.ok("%s answers", at)
	}
}

// get asks for a URL, with a token if there is one, and returns the status of
// the answer. It follows no redirect.
func get(ctx context.Context, t http.RoundTripper, at string, token pat.Token) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return 0, err
	}
	req.Header.Set("User-Agent", cli.UserAgent())
	if !token.IsZero() {
		req.Header.Set("Authorization", "Bearer "+token.Expose())
	}
	client := &http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err // the place is named anyway
	}
	if err != nil {
		return 0, err
	}
	return resp.StatusCode, resp.Body.Close()
}
