package pat

import "regexp"

// Comment returns what a token bears in the workspace's list: which patrol
// minted it, and the nonce of that mint.
func Comment(instance, nonce string) string { return "patrol/" + instance + "/" + nonce }

// comment matches what Comment makes of an instance and a ledger's nonce.
var comment = regexp.MustCompile(`^patrol/([^/]+)/([0-9a-f]{16})$`)

// ParseComment returns which patrol minted a token with this comment, and the
// nonce of that mint. It reports false for a comment that is none of a patrol.
func ParseComment(s string) (instance, nonce string, ok bool) {
	m := comment.FindStringSubmatch(s)
	if m == nil {
		return "", "", false
	}
	return m[1], m[2], true
}
