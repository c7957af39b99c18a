package doctor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	"patrol/cmd/patrol/internal/cli"
	"patrol/cmd/patrol/internal/session"
	"patrol/cmd/patrol/internal/target"
	"patrol/proxy"
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
	if in.client == nil || in.token.IsZero() {
		f.warn("see profile and token", "neither it nor an upstream was asked: that takes a token, and a host")
		return
	}
	list, err := in.client.As(in.token).List(ctx)
	judgeList(f, in.client.Host().String(), len(list), err)
	if skew, known := in.client.Skew(); known {
		judgeSkew(f, skew)
	}
	if err == nil {
		// Read after the list, or a token minted meanwhile would look lost.
		if instance, entries, err := ledger.Read(in.dir); err == nil {
			judgeOrphans(f, list, instance, ledger.ReadFolder(in.dir), entries)
		}
	}
}

// judgeList says what the answer to the question for the tokens means.
func judgeList(f *findings, host string, n int, err error) {
	const fix = "revoke some in the workspace: Settings, Developer, Access tokens"
	what := fmt.Sprintf("%d tokens of %d, unless the workspace has another limit", n, quota)
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
	f.name = "clock"
	behind, direction := skew.Round(time.Second), "behind"
	if behind < 0 {
		behind, direction = -behind, "ahead of"
	}
	judge := f.fail
	switch {
	case behind < time.Minute:
		f.ok("this machine's agrees with the workspace's to %v", max(behind, time.Second))
		return
	case behind < 10*time.Minute:
		judge = f.warn
	}
	judge("set this machine's clock, or have it set: NTP", "this machine is %v %s the workspace", behind, direction)
}

// judgeOrphans looks for tokens that this patrol has minted, by its name and its
// folder's digits, and that aren't in its ledger. Those of other patrols are theirs,
// also where one has the same name.
func judgeOrphans(f *findings, list []pat.Info, instance, folder string, entries []ledger.Entry) {
	f.name = "lost"
	known := len(f.list)
	for _, t := range list {
		owner, nonce, minted := pat.ParseComment(t.Comment)
		ours := minted && owner == instance && ledger.FolderOf(nonce) == folder
		if !ours || slices.ContainsFunc(entries, func(e ledger.Entry) bool { return e.ID == t.ID || e.Nonce == nonce }) {
			continue
		}
		f.warn("revoke it in the workspace: Settings, Developer, Access tokens; or let it expire",
			"token %s (%s) is patrol's, and the ledger doesn't know it%s", cli.TokenName(t.ID), t.Comment, cli.Expires(t.Expiry, time.Now()))
	}
	if len(f.list) == known {
		f.ok("no token of this patrol's")
	}
}

// checkMinter: can --mint-profile sign in?
func checkMinter(ctx context.Context, in *input, f *findings) {
	if in.o.MintProfile == "" || in.client == nil { // then checkProfile says more
		return
	}
	m, err := session.NewMinter(ctx, in.client, in.profile.File, in.o.MintProfile)
	if err := cmp.Or(target.CheckMintProfile(in.o.MintProfile, in.profile.Profile), err); err != nil {
		f.err(err)
		return
	}
	switch _, err := m.List(ctx); {
	case errors.Is(err, workspace.ErrPermission):
		f.warn("let whom it signs in as use personal access tokens, in the workspace's settings", "%s signs in, and may not ask for tokens: %v", m, err)
	case err != nil:
		f.fail(m.Fix(), "%s can't mint when the token in use is dead: %v", m, err)
	default:
		f.ok("%s signs in", m)
	}
}

// upstreamChecks: do the places answer that requests are sent to? Without a token
// none is asked.
func (in *input) upstreamChecks() (all []check) {
	if in.token.IsZero() {
		return nil
	}
	for _, u := range in.upstreams {
		all = append(all, check{"upstream", func(ctx context.Context, in *input, f *findings) {
			status, err := in.get(ctx, u.URL, "models", in.token)
			judgeUpstream(f, u, status, err)
		}})
	}
	return all
}

// judgeUpstream says what the answer of an upstream means. Databricks has no
// list of models at most of them: 404 is a good answer.
func judgeUpstream(f *findings, u proxy.Upstream, status int, err error) {
	switch {
	case err != nil:
		f.fail("look at the network and at "+u.Setting, "%s doesn't answer: %v", u.URL, err)
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		f.fail("the token's user needs the right to query model endpoints there; or "+u.Setting+" names another place", "%s refuses the token (%d)", u.URL, status)
	case status/100 == 3 || status >= 500:
		f.warn("look at "+u.Setting+", or try again later", "%s answers %d", u.URL, status)
	default:
		f.ok("%s answers", u.URL)
	}
}

// get asks for what stands below a URL, with a token if there is one, and returns
// the status of the answer. It follows no redirect.
func (in *input) get(ctx context.Context, base, path string, token pat.Token) (int, error) {
	at, err := url.JoinPath(base, path) // the workspace's number may stand behind the base's path
	if err != nil {
		return 0, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return 0, err
	}
	req.Header.Set("User-Agent", cli.UserAgent())
	if !token.IsZero() {
		req.Header.Set("Authorization", "Bearer "+token.Expose())
	}
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.TLSClientConfig.RootCAs = in.o.Proxy.RootCAs
	defer t.CloseIdleConnections()
	resp, err := t.RoundTrip(req)
	if err != nil {
		return 0, err
	}
	return resp.StatusCode, resp.Body.Close()
}
