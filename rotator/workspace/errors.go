package workspace

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"

	"patrol/rotator/pat"
)

// What a caller may want to know about an error, by errors.Is.
var (
	// ErrInvalidToken: the workspace doesn't take the session's credential. A
	// token is unknown, revoked or expired.
	ErrInvalidToken = errors.New("invalid token")
	// ErrPermission: the credential is good, and may not do this.
	ErrPermission = errors.New("permission denied")
	// ErrNotFound: the user has no token with this id.
	ErrNotFound = errors.New("no such token")
	// ErrQuota: the user has as many tokens as there may be.
	ErrQuota = errors.New("token quota exceeded")
	// ErrLifetime: the workspace doesn't give tokens of this lifetime.
	ErrLifetime = errors.New("lifetime refused")
	// ErrUnreachable: no connection to the workspace could be made, so nothing reached it.
	ErrUnreachable = errors.New("the workspace can't be reached")

	// ErrUncertain: a token may have been minted that nobody has.
	ErrUncertain = errors.New("a token may have been minted")
)

// callError is how a call ended that didn't work. Its text is fit to be shown.
type callError struct {
	text       string
	is         []error
	uncertain  bool // the workspace may have done what it was asked
	retryAfter time.Duration
}

func (e *callError) Error() string   { return e.text }
func (e *callError) Unwrap() []error { return e.is }

// RetryAfter returns how long the workspace asked to be left alone, 0 if it
// didn't.
func RetryAfter(err error) time.Duration {
	if e, ok := errors.AsType[*callError](err); ok {
		return e.retryAfter
	}
	return 0
}

// explain returns the error of a call that failed with err. What the SDK says is
// in it only where the SDK gave up before it asked: it quotes bodies at length.
func (x *exchange) explain(ctx context.Context, c *Client, doing string, err error) error {
	var e *callError
	switch f, known := errors.AsType[failed](err); {
	case known:
		e = f.why
	case x.status != 0: // JSON with other types in it than the API's
		e = c.unusableAnswer("the answer can't be used: its JSON is not that of the API")
	default:
		e = &callError{text: "asking " + c.host.String() + ": " + redact(err.Error(), x.secrets), is: causes(ctx, err)}
	}
	if e.uncertain && doing == mintingToken {
		e.is = append(e.is, ErrUncertain)
	}
	e.text = doing + ": " + e.text
	return e
}

// causes returns what an error is of a call that failed with err, or because ctx
// was done.
func causes(ctx context.Context, err error) []error {
	if ctx.Err() != nil {
		return []error{ctx.Err(), context.Cause(ctx)}
	}
	return []error{err}
}

// unusableAnswer is the error of a call whose answer is not what the API gives.
func (c *Client) unusableAnswer(what string) *callError {
	return &callError{text: c.host.String() + ": " + what, uncertain: true}
}

// noAnswer is the error of a call whose attempt failed with err.
func (x *exchange) noAnswer(ctx context.Context, c *Client, err error, sent bool) *callError {
	e := &callError{text: "no answer from " + c.host.String(), is: causes(ctx, err), uncertain: sent}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		e.text += " in time"
	} else {
		e.text += ": " + redact(cmp.Or(context.Cause(ctx), err).Error(), x.secrets)
	}
	if !sent {
		e.is = append(e.is, ErrUnreachable)
	}
	return e
}

// refused is the error of a call that who answered with an error.
func refused(who string, resp *http.Response, body []byte, secrets []string) *callError {
	var said struct {
		Code any `json:"error_code"` // some services give a number
	}
	_ = json.Unmarshal(body, &said) // what isn't JSON has no code
	code, _ := said.Code.(string)
	message := pat.Message(body)
	e := &callError{text: who + " answered " + strconv.Itoa(resp.StatusCode), retryAfter: retryAfter(resp.Header)}
	if strings.Trim(code, "0123456789") != "" {
		e.text += " " + redact(code, secrets)
	}
	if message != "" {
		e.text += ": " + redact(message, secrets)
	}
	if e.retryAfter > 0 {
		e.text += fmt.Sprintf(" (try again in %v)", e.retryAfter)
	}
	err := classify(resp.StatusCode, code, message, pat.SaysInvalid(resp.StatusCode, body))
	if e.uncertain = errors.Is(err, ErrUncertain); err != nil && !e.uncertain {
		e.is = []error{err}
	}
	return e
}

// classify says what an error of the API means; nil is none of ours. Databricks
// gives the same status, and the same error_code (the number 403), to a token that
// is revoked, to an address that an admin has blocked, and to a missing permission.
func classify(status int, code, message string, saysInvalid bool) error {
	lower := strings.ToLower(message)
	is := func(c string) bool { return code == c || strings.HasPrefix(message, c) }
	switch {
	case is("QUOTA_EXCEEDED"):
		return ErrQuota
	case saysInvalid,
		// This API reads every credential that a session has: a 401 that names
		// no other reason is about it.
		status == http.StatusUnauthorized && (code == "UNAUTHENTICATED" || lower == "" || lower == "unauthorized"):
		return ErrInvalidToken
	case status == http.StatusUnauthorized, status == http.StatusForbidden, is("PERMISSION_DENIED"), is("FEATURE_DISABLED"):
		return ErrPermission
	case is("RESOURCE_DOES_NOT_EXIST") && (status == http.StatusNotFound || status == http.StatusBadRequest):
		return ErrNotFound
	case status == http.StatusBadRequest && (strings.Contains(lower, "lifetime") || strings.Contains(lower, "invalid timeout")):
		return ErrLifetime
	case status >= 500 || status == http.StatusRequestTimeout:
		return ErrUncertain // a gateway that lost patience with what lies behind it
	}
	return nil
}

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
