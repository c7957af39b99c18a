package pat

import "regexp"

// shape finds what looks like a Databricks token, by the prefixes that those
// have: personal, of a service principal, OAuth's refresh tokens and secrets.
var shape = regexp.MustCompile(`(?i)(dapi|dsapi|dkea|dose)[0-9a-z_-]{4,}`)

// Redact returns s with whatever looks like a Databricks token cut after its
// prefix. People paste tokens where a host or a name belongs, and messages
// that quote those end up in logs.
func Redact(s string) string { return shape.ReplaceAllString(s, "$1…") }
