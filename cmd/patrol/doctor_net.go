package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"patrol/rotator/ledger"
	"patrol/rotator/pat"
	"patrol/rotator/workspace"
)

// quota is how many tokens a user may have in a workspace that has no other
// limit. What it is can't be asked.
const quota = 600

// checkWorkspace: does the workspace take the token, do the clocks agree, is
// there room for another token, and has patrol lost track of any?
func checkWorkspace(ctx context.Context, p *patient) []finding {
	const name = "workspace"
	switch {
	case p.host == "":
		return []finding{warning(name, "see profile", "not asked: it isn't known which one it is")}
	case p.token.IsZero():
		return []finding{warning(name, p.login(), "%s was not asked: there is no token", p.host)}
	}
	roots, err := p.o.proxy.rootCAs()
	if err != nil {
		return []finding{failed(name, "", err)}
	}
	client, err := workspace.New(workspace.Config{Host: p.host, UserAgent: userAgent(), RootCAs: roots, Timeout: doctorPatience})
	if err != nil {
		return []finding{failed(name, "", err)}
	}
	defer client.Close()
	list, err := client.As(pat.New(p.token.Expose(), p.host)).List(ctx)
	found := judgeList(client.Host().String(), list, err)
	if skew, known := client.Skew(); known {
		found = append(found, judgeSkew(skew))
	}
	if err == nil {
		// Read after the list, or a token minted meanwhile would look lost.
		instance, entries, err := ledger.Read(p.dir)
		if err == nil {
			found = append(found, judgeOrphans(list, instance, entries)...)
		}
	}
	return found
}

// judgeList says what the answer to the question for the tokens means.
func judgeList(host string, list []pat.Info, err error) []finding {
	const name = "workspace"
	switch {
	case errors.Is(err, workspace.ErrInvalidToken):
		return []finding{failure(name, "patrol login", "%s refuses the token as invalid, revoked or expired", host)}
	case errors.Is(err, workspace.ErrPermission):
		return []finding{warning("quota", "nothing, if the token's scopes are meant to be narrow", "%s doesn't let this token list the user's tokens: quota and lost tokens are unknown", host)}
	case err != nil:
		return []finding{failure(name, "look at the network, HTTPS_PROXY, and --upstream-ca", "%v", err)}
	}
	found := []finding{fine(name, "%s takes the token", host)}
	const mend = "revoke some in the workspace: Settings, Developer, Access tokens"
	switch n := len(list); {
	case n >= quota:
		return append(found, failure("quota", mend, "%d tokens of %d, unless the workspace has another limit: the next mint is refused", n, quota))
	case n >= quota*9/10:
		return append(found, warning("quota", mend, "%d tokens of %d, unless the workspace has another limit", n, quota))
	default:
		return append(found, fine("quota", "%d tokens of %d, unless the workspace has another limit", n, quota))
	}
}

// judgeSkew says what it means that the workspace's clock is ahead.
func judgeSkew(skew time.Duration) finding {
	const name, mend = "clock", "set this machine's clock, or have it set: NTP"
	behind := skew.Round(time.Second)
	direction := "behind"
	if behind < 0 {
		behind, direction = -behind, "ahead of"
	}
	switch {
	case behind >= 10*time.Minute:
		return failure(name, mend, "this machine is %v %s the workspace: when a token expires is misjudged", behind, direction)
	case behind >= time.Minute:
		return warning(name, mend, "this machine is %v %s the workspace", behind, direction)
	}
	return fine(name, "this machine's agrees with the workspace's to %v", max(behind, time.Second))
}

// judgeOrphans looks for tokens that bear this patrol's name and aren't in its
// ledger. Those of other patrols are theirs.
func judgeOrphans(list []pat.Info, instance string, entries []ledger.Entry) []finding {
	const name = "lost"
	var found []finding
	others := map[string]int{}
	for _, t := range list {
		owner, nonce, minted := pat.ParseComment(t.Comment)
		switch {
		case !minted:
		case owner != instance || instance == "":
			others[owner]++
		case !slices.ContainsFunc(entries, func(e ledger.Entry) bool { return e.ID == t.ID || e.Nonce == nonce }):
			found = append(found, warning(name, "revoke it in the workspace: Settings, Developer, Access tokens; or let it expire",
				"token %s (%s) is patrol's, and the ledger doesn't know it%s", tokenName(t.ID), t.Comment, expires(t.Expiry, time.Now())))
		}
	}
	if found == nil {
		found = append(found, fine(name, "no token of this patrol's"))
	}
	if len(others) > 0 {
		var names []string
		for owner, n := range others {
			names = append(names, fmt.Sprintf("%s (%d)", owner, n))
		}
		slices.Sort(names)
		found = append(found, fine("others", "other patrols of this user have tokens too: %s", strings.Join(names, ", ")))
	}
	return found
}

// checkUpstreams: do the places answer that requests are sent to?
func checkUpstreams(ctx context.Context, p *patient) []finding {
	const name = "upstream"
	if p.token.IsZero() || len(p.upstreams) == 0 {
		return []finding{warning(name, "see profile and token", "not asked: there is no token")}
	}
	roots, err := p.o.proxy.rootCAs()
	if err != nil {
		return nil // checkWorkspace says so
	}
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.TLSClientConfig.RootCAs = roots
	defer t.CloseIdleConnections()
	found := make([]finding, len(p.upstreams))
	var all sync.WaitGroup
	for i, u := range p.upstreams {
		all.Go(func() {
			status, err := get(ctx, t, u.URL+"/models", p.token)
			found[i] = judgeUpstream(u.Setting, u.URL, status, err)
		})
	}
	all.Wait()
	return found
}

// judgeUpstream says what the answer of an upstream means. Databricks has no
// list of models at most of them: 404 is a good answer.
func judgeUpstream(setting, at string, status int, err error) finding {
	const name = "upstream"
	switch {
	case err != nil:
		return failure(name, "look at the network and at "+setting, "%s doesn't answer: %v", at, err)
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		return failure(name, "the token's user needs the right to query model endpoints there; or "+setting+" names another place", "%s refuses the token (%d)", at, status)
	case status/100 == 3:
		return warning(name, "look at "+setting, "%s redirects (%d), which patrol doesn't follow", at, status)
	case status >= 500:
		return warning(name, "try again later", "%s answers %d", at, status)
	}
	return fine(name, "%s answers", at)
}

// get asks for a URL, with a token if there is one, and returns the status of
// the answer. It follows no redirect.
func get(ctx context.Context, t http.RoundTripper, at string, token pat.Token) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return 0, err
	}
	req.Header.Set("User-Agent", userAgent())
	if !token.IsZero() {
		req.Header.Set("Authorization", "Bearer "+token.Expose())
	}
	client := &http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	if err != nil {
		if u, ok := errors.AsType[*url.Error](err); ok {
			err = u.Err // the place is named anyway
		}
		return 0, err
	}
	return resp.StatusCode, resp.Body.Close()
}
