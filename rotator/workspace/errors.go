package workspace

import (
	"context"
	"errors"
	"fmt"
	"html"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/databricks/databricks-sdk-go/apierr"
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

// explain returns the error of a call, nil for nil. What the SDK says is not
// in it, but for the parts that were checked: it quotes bodies at length.
func (x *exchange) explain(ctx context.Context, c *Client, doing string, err error) error {
	if err == nil {
		return nil
	}
	e := &callError{retryAfter: x.retryAfter}
	var refusal *apierr.APIError
	switch f := asFailure(err); {
	case f != nil:
		x.explainFailure(ctx, c, e, f)
	case errors.As(err, &refusal) && x.status >= 400:
		x.explainRefusal(e, refusal)
	case x.status != 0: // JSON with other types in it than the API's
		e.text, e.is = "the answer can't be used: its JSON is not that of the API", []error{ErrUncertain}
	default: // the SDK gave up before it asked
		e.text = "asking " + c.host.String() + ": " + redact(err.Error(), x.secrets)
		e.is = contextErrors(ctx)
	}
	if doing != mintingToken {
		e.is = without(e.is, ErrUncertain)
	}
	e.text = doing + ": " + e.text
	return e
}

// explainFailure explains a call without an answer that can be used.
func (x *exchange) explainFailure(ctx context.Context, c *Client, e *callError, f *failure) {
	e.is = contextErrors(ctx)
	switch {
	case f.what != "" && f.cause == nil:
		e.text = c.host.String() + ": " + f.what
	case f.what != "":
		e.text = c.host.String() + ": " + f.what + ": " + redact(f.cause.Error(), x.secrets)
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		e.text = "no answer from " + c.host.String() + " in time"
	case ctx.Err() != nil:
		e.text = "no answer from " + c.host.String() + " yet: " + redact(context.Cause(ctx).Error(), x.secrets)
	default:
		e.text = "no answer from " + c.host.String() + ": " + redact(f.cause.Error(), x.secrets)
	}
	if f.cause != nil && len(e.is) == 0 {
		e.is = append(e.is, f.cause)
	}
	switch {
	case !f.void:
		e.is = append(e.is, ErrUncertain)
	case f.what == "":
		e.is = append(e.is, ErrUnreachable)
	}
}

// contextErrors returns why the context is done, nothing if it isn't.
func contextErrors(ctx context.Context) []error {
	if ctx.Err() == nil {
		return nil
	}
	return []error{ctx.Err(), context.Cause(ctx)}
}

// explainRefusal explains an answer that is an error.
func (x *exchange) explainRefusal(e *callError, refusal *apierr.APIError) {
	code, message := refusal.ErrorCode, plain(refusal.Message)
	e.is = x.classify(code, message)
	e.text = "the workspace answered " + strconv.Itoa(x.status)
	if _, err := strconv.Atoi(code); err != nil && code != "" && code != "UNKNOWN" && code != "<nil>" {
		e.text += " " + redact(code, x.secrets)
	}
	if message != "" {
		e.text += ": " + redact(message, x.secrets)
	}
	if e.retryAfter > 0 {
		e.text += fmt.Sprintf(" (try again in %v)", e.retryAfter)
	}
}

// classify says what an error of the API means. Databricks gives the same
// status, and the same error_code (the number 403), to a token that is
// revoked, to an address that an admin has blocked, and to a missing
// permission.
func (x *exchange) classify(code, message string) []error {
	lower := strings.ToLower(message)
	switch {
	case code == "QUOTA_EXCEEDED" || strings.HasPrefix(message, "QUOTA_EXCEEDED"):
		return []error{ErrQuota}
	case x.saysInvalid,
		// This API reads every credential that a session has: a 401 that names
		// no other reason is about it.
		x.status == http.StatusUnauthorized && (code == "UNAUTHENTICATED" || lower == "" || lower == "unauthorized"):
		return []error{ErrInvalidToken}
	case x.status == http.StatusUnauthorized, x.status == http.StatusForbidden, code == "PERMISSION_DENIED", code == "FEATURE_DISABLED":
		return []error{ErrPermission}
	case code == "RESOURCE_DOES_NOT_EXIST" && (x.status == http.StatusNotFound || x.status == http.StatusBadRequest):
		return []error{ErrNotFound}
	case x.status == http.StatusBadRequest && (strings.Contains(lower, "lifetime") || strings.Contains(lower, "invalid timeout")):
		return []error{ErrLifetime}
	case x.status >= 500 || x.status == http.StatusRequestTimeout:
		return []error{ErrUncertain} // a gateway that lost patience with what lies behind it
	}
	return nil
}

// title and tag take what a web page says out of it.
var (
	title = regexp.MustCompile(`(?is)<title>(.*?)</title>`)
	tag   = regexp.MustCompile(`(?s)<[^>]*>`)
)

// plain returns a message without the web page around it.
func plain(message string) string {
	if m := title.FindStringSubmatch(message); m != nil {
		message = m[1]
	}
	if strings.Contains(message, "<") {
		message = tag.ReplaceAllString(message, " ")
	}
	return strings.Join(strings.Fields(html.UnescapeString(message)), " ")
}

func without(errs []error, drop error) []error {
	var kept []error
	for _, err := range errs {
		if !errors.Is(err, drop) {
			kept = append(kept, err)
		}
	}
	return kept
}
