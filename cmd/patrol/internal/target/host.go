package target

import (
	"errors"
	"maps"
	"net/url"
	"slices"
	"strings"

	"patrol/cmd/patrol/internal/cli"
	"patrol/rotator/pat"
)

// parseHost reads the address of a workspace. Without a scheme it is taken as
// https; a path is an error. With an error it returns what was probably meant, the
// zero Host if that can't be told.
func parseHost(raw string) (pat.Host, error) {
	raw = strings.TrimSpace(raw)
	if pat.Redact(raw) != raw && !strings.Contains(raw, ".") {
		return pat.Host{}, errors.New("this looks like a token, not a host; if it is one, revoke it where it got out")
	}
	if !strings.Contains(raw, "://") {
		raw = "https://" + raw
	}
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" {
		return pat.Host{}, errors.New("not a URL")
	}
	if err := cli.CheckHostPort(u); err != nil {
		return pat.Host{}, err
	}
	h := pat.HostOf(u)
	if err := checkURL(u, h); err != nil {
		if !h.Private() {
			h.Scheme = "https"
		}
		return h, err
	}
	return h, nil
}

// checkURL refuses what a workspace's address can't have.
func checkURL(u *url.URL, h pat.Host) error {
	// What browsers show is pasted: a and account_id are the account, which a
	// token doesn't need.
	strange := func(key string) bool {
		return !slices.Contains([]string{"o", "w", "workspace_id", "a", "account_id"}, key)
	}
	switch {
	case u.User != nil:
		return errors.New("must not hold a user or password")
	case h.Scheme != "https" && h.Scheme != "http":
		return errors.New("the scheme must be https")
	case !h.Private():
		return errors.New("http would send the token in clear text")
	case u.Path != "" && u.Path != "/":
		return errors.New("a host has no path")
	case u.Fragment != "":
		return errors.New("a host has no fragment")
	case slices.ContainsFunc(slices.Collect(maps.Keys(u.Query())), strange):
		return errors.New("a host has no query but ?o=")
	}
	return nil
}

// HostFlag reads --host or its variable, where a form that only looks right is
// refused: what is typed by hand should be what was meant.
func HostFlag(s cli.Setting) (pat.Host, error) {
	h, err := VariableHost(s.From, s.Value())
	if err == nil && !strings.Contains(s.Value(), "://") {
		err = s.Wrong(s.Value(), "the scheme is missing", "--host "+h.String())
	}
	return h, err
}

// VariableHost reads a host that stands in a variable or a file, where it need
// not have a scheme. An empty one is the zero Host.
func VariableHost(where, value string) (pat.Host, error) {
	if strings.TrimSpace(value) == "" {
		return pat.Host{}, nil
	}
	h, err := parseHost(value)
	if err == nil {
		return h, nil
	}
	hint := "perhaps " + h.String() // what was meant
	switch {
	case h.IsZero():
		hint = "a host looks like https://dbc-1234.cloud.databricks.com"
	case where == "--host":
		hint = "perhaps --host " + h.String()
	}
	if !strings.Contains(value, "@") { // a password may stand before it
		where += " " + cli.Quote(value)
	}
	return h, cli.Usage(hint, "%s: %w", where, err)
}
