package proxy

import (
	"encoding/hex"
	"errors"
	"net/http"
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
func checkPath(path string) error {
	for _, c := range path {
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
	path = strings.TrimPrefix(path, "/")
	for path != "" {
		segment, rest, _ := strings.Cut(path, "/")
		if strings.Trim(segment, ". ") == "" {
			return errSegment
		}
		path = rest
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
