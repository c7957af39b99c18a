package target

import (
	"errors"
	"net/url"
	"slices"
	"strings"

	"patrol/cmd/patrol/internal/cli"
	"patrol/rotator/pat"
)

// A hostError says why a host can't be used and what was probably meant.
type hostError struct {
	what  string
	meant string // may be empty
}

func (e *hostError) Error() string { return e.what }

// hostFlaws are the habits with hosts that are harmless in a variable, where
// every Databricks tool takes them, and a mistake on the command line.
type hostFlaws struct {
	noScheme bool
}

// parseHost reads the address of a workspace. Without a scheme it is taken as
// https, which flaws tells; a path is an error.
func parseHost(raw string) (h pat.Host, flaws hostFlaws, err error) {
	raw = strings.TrimSpace(raw)
	if pat.Redact(raw) != raw && !strings.Contains(raw, ".") {
		return h, flaws, &hostError{what: "this looks like a token, not a host; if it is one, revoke it where it got out"}
	}
	if !strings.Contains(raw, "://") {
		flaws.noScheme = true
		raw = "https://" + raw
	}
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" {
		return h, flaws, &hostError{what: "not a URL"}
	}
	h = pat.HostOf(u)
	if u.User != nil {
		return h, flaws, &hostError{what: "must not hold a user or password", meant: h.String()}
	}
	if err := cli.CheckHostPort(u); err != nil {
		return h, flaws, &hostError{what: err.Error()}
	}
	meant := h.String()
	encrypted := h
	encrypted.Scheme = "https"
	switch {
	case h.Scheme != "https" && h.Scheme != "http":
		return h, flaws, &hostError{what: "the scheme must be https", meant: encrypted.String()}
	case !h.Private():
		return h, flaws, &hostError{what: "http would send the token in clear text", meant: encrypted.String()}
	case u.Path != "" && u.Path != "/":
		return h, flaws, &hostError{what: "a host has no path", meant: meant}
	case u.Fragment != "":
		return h, flaws, &hostError{what: "a host has no fragment", meant: meant}
	}
	// What browsers show is pasted: a and account_id are the account, which a
	// token doesn't need.
	for key := range u.Query() {
		if !slices.Contains([]string{"o", "w", "workspace_id", "a", "account_id"}, key) {
			return h, flaws, &hostError{what: "a host has no query but ?o=", meant: meant}
		}
	}
	return h, flaws, nil
}

// HostFlag reads --host or its variable, where a form that only looks right is
// refused: what is typed by hand should be what was meant.
func HostFlag(s cli.Setting) (pat.Host, error) {
	h, flaws, err := parseHost(s.Value())
	if err != nil {
		return h, hostMistake(s.From, s.Value(), "--host ", err)
	}
	if flaws.noScheme {
		return h, s.Wrong(s.Value(), "the scheme is missing", "--host "+h.String())
	}
	return h, nil
}

// hostMistake puts a hostError into words. what names where the value stands.
func hostMistake(where, value, prefix string, err error) error {
	hint := "a host looks like https://dbc-1234.cloud.databricks.com"
	if e, ok := errors.AsType[*hostError](err); ok && e.meant != "" {
		hint = "perhaps " + prefix + e.meant
	}
	if strings.Contains(value, "@") {
		return cli.Usage(hint, "%s: %w", where, err) // a password may stand before it
	}
	return cli.Usage(hint, "%s %s: %w", where, cli.Quote(value), err)
}
