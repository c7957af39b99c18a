package main

import (
	"cmp"
	"errors"
	"net/url"
	"slices"
	"strings"
)

// A workspaceURL is the address of a workspace.
type workspaceURL struct {
	host string // canonical: "https://name" or "https://name:port", lower case
	id   string // the workspace's number where one host serves several (?o=…); may be empty
}

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
func parseHost(raw string) (w workspaceURL, flaws hostFlaws, err error) {
	raw = strings.TrimSpace(raw)
	if tokenShape.MatchString(raw) && !strings.Contains(raw, ".") {
		return w, flaws, &hostError{what: "this looks like a token, not a host; if it is one, revoke it where it got out"}
	}
	if !strings.Contains(raw, "://") {
		flaws.noScheme = true
		raw = "https://" + raw
	}
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" {
		return w, flaws, &hostError{what: "not a URL"}
	}
	if u.User != nil {
		return w, flaws, &hostError{what: "must not hold a user or password", meant: canonical(u)}
	}
	if err := checkHostPort(u); err != nil {
		return w, flaws, &hostError{what: err.Error()}
	}
	w.host = canonical(u)
	// What browsers show is pasted: o, w and workspace_id are the workspace, a
	// and account_id its account, which a token doesn't need.
	query := u.Query()
	w.id = cmp.Or(query.Get("o"), query.Get("w"), query.Get("workspace_id"))
	meant := w.String()
	switch {
	case u.Scheme != "https" && u.Scheme != "http":
		return w, flaws, &hostError{what: "the scheme must be https", meant: "https" + strings.TrimPrefix(meant, u.Scheme)}
	case u.Scheme == "http" && !loopbackName(u.Hostname()):
		return w, flaws, &hostError{what: "http would send the token in clear text", meant: "https" + strings.TrimPrefix(meant, "http")}
	case u.Path != "" && u.Path != "/":
		return w, flaws, &hostError{what: "a host has no path", meant: meant}
	case u.Fragment != "":
		return w, flaws, &hostError{what: "a host has no fragment", meant: meant}
	}
	for key := range query {
		if !slices.Contains([]string{"o", "w", "workspace_id", "a", "account_id"}, key) {
			return w, flaws, &hostError{what: "a host has no query but ?o=", meant: meant}
		}
	}
	return w, flaws, nil
}

// canonical returns scheme, name and port in the one form that hosts are
// compared in.
func canonical(u *url.URL) string {
	scheme, host := strings.ToLower(u.Scheme), strings.ToLower(u.Host)
	host = strings.TrimSuffix(host, map[string]string{"https": ":443", "http": ":80"}[scheme])
	return scheme + "://" + host
}

// String returns the address as tokens and the workspace's client have it.
func (w workspaceURL) String() string {
	if w.id == "" {
		return w.host
	}
	return w.host + "?" + url.Values{"o": {w.id}}.Encode()
}

// same reports whether both are one workspace. Where only one of them names a
// number the host alone decides.
func (w workspaceURL) same(v workspaceURL) bool {
	return w.host == v.host && (w.id == v.id || w.id == "" || v.id == "")
}

// hostFlag reads --host or its variable, where a form that only looks right is
// refused: what is typed by hand should be what was meant.
func hostFlag(s setting) (workspaceURL, error) {
	w, flaws, err := parseHost(s.value())
	if err != nil {
		return w, hostMistake(s.from, s.value(), "--host ", err)
	}
	if flaws.noScheme {
		return w, s.wrong(s.value(), "the scheme is missing", "--host "+w.String())
	}
	return w, nil
}

// hostMistake puts a hostError into words. what names where the value stands.
func hostMistake(where, value, prefix string, err error) error {
	hint := "a host looks like https://dbc-1234.cloud.databricks.com"
	if e, ok := errors.AsType[*hostError](err); ok && e.meant != "" {
		hint = "perhaps " + prefix + e.meant
	}
	if strings.Contains(value, "@") {
		return usageError(hint, "%s: %w", where, err) // a password may stand before it
	}
	return usageError(hint, "%s %s: %w", where, quote(value), err)
}
