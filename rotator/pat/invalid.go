package pat

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"html"
	"net/http"
	"regexp"
	"slices"
	"strings"
)

// SaysInvalid reports whether an answer says that the token that the request
// bore is invalid, revoked or expired, rather than that its user may not do
// this. Databricks gives the same status and error_code to both, so only the
// message tells them apart. body is the answer's, without content encoding;
// its beginning is enough.
func SaysInvalid(status int, body []byte) bool {
	switch status {
	case http.StatusBadRequest:
		return slices.ContainsFunc(messages(body), invalidAlone.MatchString)
	case http.StatusUnauthorized, http.StatusForbidden:
		return slices.ContainsFunc(messages(body), invalidFirst.MatchString)
	}
	return false
}

// invalid is the list of sentences that mean it. A new one is added here and
// to the table of TestSaysInvalid.
const invalid = `(?:` +
	`(?:invalid|expired|revoked) (?:personal )?(?:access )?token` +
	`|(?:the )?(?:provided )?(?:personal )?(?:access )?token (?:is |has |was )?(?:been )?(?:already )?(?:expired|revoked)` +
	`|(?:the )?(?:provided )?(?:personal )?(?:access )?token (?:is|was) (?:invalid|not valid)` +
	`|(?:the )?(?:access )?token is expiring within \d+ seconds` +
	`)`

var (
	// invalidAlone matches a message that is nothing but such a sentence, and
	// perhaps a request's id. A 400 has to be that strict: a JSON parser
	// complains of an "invalid token", too.
	invalidAlone = regexp.MustCompile(`(?i)^(?:error(?: \d+)?:? )?` + invalid + `[.!]?(?: \[reqid: [^\]]*\])?$`)
	// invalidFirst matches a message that begins with one.
	invalidFirst = regexp.MustCompile(`(?i)^(?:error \d+ |[a-z0-9_ ]{1,40}: )?` + invalid + `(?:[.!,;(]| [(\[]|$)`)
)

// Message returns what an error's body says, in one line; "" if it says nothing.
func Message(body []byte) string { return cmp.Or(messages(body)...) }

// messages returns what an error's body says, in one line each: a JSON object
// has a message in one of several places, a web page in its <pre> or title.
func messages(body []byte) []string {
	body = bytes.TrimSpace(body)
	var all []string
	switch {
	case len(body) == 0:
		return nil
	case body[0] == '{':
		all = jsonMessages(body)
	case body[0] == '<':
		all = []string{pageMessage(string(body))}
	default:
		all = []string{string(body)}
	}
	for i, message := range all {
		all[i] = strings.Join(strings.Fields(message), " ")
	}
	return all
}

// jsonMessages returns what a JSON error says, wherever services put it.
func jsonMessages(body []byte) []string {
	var v struct {
		Message     string `json:"message"`
		Description string `json:"error_description"`
		Detail      string `json:"detail"`
		Error       any    `json:"error"`
	}
	err := json.Unmarshal(body, &v)
	if _, mistyped := errors.AsType[*json.UnmarshalTypeError](err); err != nil && !mistyped {
		return nil
	}
	all := []string{v.Message, v.Description, v.Detail}
	switch inner := v.Error.(type) {
	case string:
		all = append(all, inner)
	case map[string]any:
		text, _ := inner["message"].(string)
		all = append(all, text)
	}
	return all
}

var (
	preformatted = regexp.MustCompile(`(?is)<pre>(.*?)</pre>`)
	title        = regexp.MustCompile(`(?is)<title>(.*?)</title>`)
	tag          = regexp.MustCompile(`(?s)<[^>]*>`)
)

// pageMessage returns what a web page says.
func pageMessage(page string) string {
	for _, part := range []*regexp.Regexp{preformatted, title} {
		if found := part.FindStringSubmatch(page); found != nil {
			page = found[1]
			break
		}
	}
	return html.UnescapeString(tag.ReplaceAllString(page, " "))
}
