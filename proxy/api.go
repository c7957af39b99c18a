package proxy

import (
	"errors"
	"strings"
)

var errTokenAPI = errors.New("patrol passes no requests to the token API: a token made there would outlive it")

// checkAPI says whether a path below /api/, which checkTarget has let pass,
// may be asked for: what makes and lists tokens never, in any spelling. So the
// segments that name the service must be as the documentation writes them.
func checkAPI(path string) error {
	version, rest, _ := strings.Cut(strings.TrimPrefix(path, restAPI), "/")
	service, rest, _ := strings.Cut(rest, "/")
	for strings.EqualFold(service, "preview") {
		service, rest, _ = strings.Cut(rest, "/")
	}
	if !consists(version, func(c byte) bool { return '0' <= c && c <= '9' || c == '.' }) ||
		!consists(service, func(c byte) bool { return alphanumeric(c) || c == '-' || c == '_' }) {
		return errors.New("patrol knows no such API: a path looks like /api/2.0/SERVICE/…")
	}
	if strings.HasPrefix(strings.ToLower(service), "token") { // token, tokens, token-management
		return errTokenAPI
	}
	return nil
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
