package proxy

import (
	"encoding/hex"
	"errors"
	"net/http"
	"path"
	"strings"
	"unicode"
	"unicode/utf8"
)

// What a request's target is refused for. A server behind the workspace's
// front door may read such a path as another one, and so as one outside the
// route that patrol matched: dots and slashes in disguise, parameters that
// Java servers cut off ("..;"), bytes that some normalise away.
var (
	errForm    = errors.New("the request's target must be a path, as in POST /v1/messages")
	errEscape  = errors.New("the path hides a character behind an escape (%) that needs none, or a broken one")
	errChar    = errors.New("the path holds a character that has no place in one")
	errSegment = errors.New("the path has an empty or a dot segment (//, /./ or /../)")
)

// checkTarget returns the request's path as it stood on the wire, or why
// the request is refused. If it returns no error, every server reads the path
// as r.URL.Path says.
func checkTarget(r *http.Request) (raw string, err error) {
	raw, _, _ = strings.Cut(r.RequestURI, "?")
	// An absolute-form target would name another host, CONNECT an authority.
	if r.Method == http.MethodConnect || !strings.HasPrefix(raw, "/") || r.URL.Host != "" || r.URL.Scheme != "" {
		return "", errForm
	}
	if err := checkRaw(raw); err != nil {
		return "", err
	}
	return raw, checkPath(r.URL.Path)
}

// checkRaw looks at the bytes on the wire.
func checkRaw(raw string) error {
	for i := 0; i < len(raw); i++ {
		switch c := raw[i]; {
		case plain(c):
		case c != '%':
			return errChar
		case i+2 >= len(raw):
			return errEscape
		default:
			b, err := hex.DecodeString(raw[i+1 : i+3])
			if err != nil || alphanumeric(b[0]) || strings.IndexByte(`./-_~\;%?#`, b[0]) >= 0 {
				return errEscape
			}
			i += 2
		}
	}
	return nil
}

// checkPath looks at the path that the bytes stand for.
func checkPath(asked string) error {
	for _, c := range asked {
		switch {
		case c >= utf8.RuneSelf:
			// A server that folds Unicode would make dots and slashes of
			// their wide cousins; of letters it makes letters.
			if !unicode.In(c, unicode.L, unicode.M, unicode.Nd) {
				return errChar
			}
		case c < ' ' || c == 0x7f || c == '\\' || c == ';':
			return errChar
		}
	}
	asked = strings.TrimPrefix(asked, "/")
	for asked != "" {
		segment, rest, _ := strings.Cut(asked, "/")
		if strings.Trim(segment, ". ") == "" {
			return errSegment
		}
		asked = rest
	}
	return nil
}

// plain reports whether c may stand in a path as it is: RFC 3986's characters
// but the semicolon.
func plain(c byte) bool {
	return alphanumeric(c) || strings.IndexByte("/-._~:@!$&'()*+,=", c) >= 0
}

func alphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

// minting is what makes a credential for Databricks, below /api/VERSION/ and in lower case:
// it would outlive the token that it was asked for with. From the API's reference,
// https://docs.databricks.com/api/workspace, and the SDK's services.
var minting = []struct {
	path     string // segments as path.Match has them
	anywhere bool   // not only at the beginning
}{
	{path: "token*"}, // token, tokens, token-management
	{path: "git-credentials"},
	{path: "database/credentials"},
	{path: "postgres/credentials"},
	{path: "oauth2", anywhere: true},
	{path: "oidc", anywhere: true},
	{path: "serviceprincipals/*/credentials", anywhere: true},
	{path: "temporary-*-credentials", anywhere: true},
	{path: "*/rotate-token", anywhere: true}, // of a share's recipient
	{path: "data_sharing_activation", anywhere: true},
	{path: "federationpolicies", anywhere: true}, // whose tokens Databricks takes for its own
}

var errMints = errors.New("patrol passes no requests to what makes tokens and other credentials (the token API and its like): one made there would outlive patrol's token")

// checkAPI says whether a path below /api/, which checkTarget has let pass, may be asked
// for: what makes credentials, and the token API, never, in any spelling. So the segments
// that name the service must be as the documentation writes them.
func checkAPI(asked string) error {
	version, rest, _ := strings.Cut(strings.TrimPrefix(asked, restAPI), "/")
	service, _, _ := strings.Cut(rest, "/")
	for strings.EqualFold(service, "preview") {
		_, rest, _ = strings.Cut(rest, "/")
		service, _, _ = strings.Cut(rest, "/")
	}
	if !consists(version, func(c byte) bool { return '0' <= c && c <= '9' || c == '.' }) ||
		!consists(service, func(c byte) bool { return alphanumeric(c) || c == '-' || c == '_' }) {
		return errors.New("patrol knows no such API: a path looks like /api/2.0/SERVICE/…")
	}
	segments := strings.Split(strings.ToLower(rest), "/")
	for i, s := range segments {
		segments[i] = strings.TrimSpace(s) // as a server may
	}
	for _, m := range minting {
		pattern := strings.Split(m.path, "/")
		for at := 0; at == 0 || m.anywhere && at < len(segments); at++ {
			if beginsWith(segments[at:], pattern) {
				return errMints
			}
		}
	}
	return nil
}

func beginsWith(segments, pattern []string) bool {
	if len(segments) < len(pattern) {
		return false
	}
	for i, p := range pattern {
		if ok, _ := path.Match(p, segments[i]); !ok { // the patterns are valid
			return false
		}
	}
	return true
}

// consists reports whether s is made of such bytes only, and not empty.
func consists(s string, of func(byte) bool) bool {
	for i := range len(s) {
		if !of(s[i]) {
			return false
		}
	}
	return s != ""
}
