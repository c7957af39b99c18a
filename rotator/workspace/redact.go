package workspace

import (
	"regexp"
	"strings"
	"unicode"

	"patrol/rotator/pat"
)

// maxText is how much of what others wrote stands in an error, in bytes.
const maxText = 200

var (
	// named finds a secret by the key before it.
	named = regexp.MustCompile(`(?i)("?\b(?:token_value|access_token|refresh_token|id_token|client_secret|secret|password|assertion|api[_-]?key|authorization)\b"?\s*[:=]\s*"?(?:bearer |basic )?)[^\s",;&}]+`)
	// shaped finds one by its form: JWTs, bearers. pat.Redact knows Databricks'.
	shaped = regexp.MustCompile(`(?i)\beyJ[0-9a-z_.-]{8,}|\bbearer\s+\S+`)
	// opaque finds whatever is long enough to be one, and longer than the
	// longest part of a host's name ("adb-1234567890123456").
	opaque = regexp.MustCompile(`[0-9A-Za-z_+=~-]{24,}`)
	// harmless is opaque and no secret: a token's id, a request's.
	harmless = regexp.MustCompile(`^(?:[0-9a-f]{64}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})$`)
)

const hidden = "[hidden]"

// redact returns text fit for an error or a log: one line, at most maxText
// long, the secrets and all that looks like one hidden.
func redact(text string, secrets []string) string {
	for _, secret := range secrets {
		if secret != "" {
			text = strings.ReplaceAll(text, secret, hidden)
		}
	}
	text = named.ReplaceAllString(text, "${1}"+hidden)
	text = shaped.ReplaceAllString(pat.Redact(text), hidden)
	text = opaque.ReplaceAllStringFunc(text, func(word string) string {
		if harmless.MatchString(word) || !strings.ContainsAny(word, "0123456789") {
			return word
		}
		return hidden
	})
	text = strings.Join(strings.FieldsFunc(text, func(r rune) bool {
		return unicode.IsSpace(r) || !unicode.IsPrint(r)
	}), " ")
	if len(text) > maxText {
		text = strings.ToValidUTF8(text[:maxText], "") + "…"
	}
	return text
}
