package pat_test

import (
	"testing"

	"patrol/rotator/pat"
	"patrol/rotator/workspacetest"
)

func TestSaysInvalid(t *testing.T) {
	const reqID = " [ReqId: 145ae51b-da74-40a7-ac56-0ad190834faf]"
	// Each sentence, in whatever form it comes.
	for _, sentence := range []string{
		"Invalid access token.", "Invalid access token", "invalid access token", "Invalid Token", "Invalid personal access token.",
		"Token is expired", "Token has expired.", "Access token has expired", "The access token expired", "Expired token",
		"The provided token is not valid", "The provided access token is invalid", "token has been revoked", "Token was revoked.", "The token is already expired.",
	} {
		for _, body := range []string{
			sentence, sentence + "\n", "Error 403: " + sentence, sentence + reqID,
			`{"error_code":403,"message":"` + sentence + `"}`,
			`{"error_code":"403","message":"` + sentence + reqID + `"}`,
			` {"message":"` + sentence + `","error_code":403} `,
			`{"error_code":"PERMISSION_DENIED","message":"` + sentence + `"}`,
			`{"error_code":"UNAUTHENTICATED","message":"` + sentence + `"}`,
			`{"error_code":{"odd":1},"message":"` + sentence + `"}`,
			`{"error":{"message":"` + sentence + `","code":403}}`,
			`{"error":"` + sentence + `"}`,
			`{"error":"invalid_request","error_description":"` + sentence + `"}`,
			"<html><body><pre>" + sentence + "</pre></body></html>",
			"\n<!doctype html><PRE>\n  " + sentence + "\n</PRE>",
			"<html><head><title>Error 403 " + sentence + "</title></head></html>",
			"<p>" + sentence + "</p>",
		} {
			for _, status := range []int{400, 401, 403} {
				if !pat.SaysInvalid(status, []byte(body)) {
					t.Errorf("%d isn't known for an invalid token: %s", status, body)
				}
			}
			for _, status := range []int{200, 404, 429, 500, 503} {
				if pat.SaysInvalid(status, []byte(body)) {
					t.Errorf("%d is taken for an invalid token: %s", status, body)
				}
			}
		}
	}
	for _, refusal := range workspacetest.Refusals() {
		if !pat.SaysInvalid(refusal.Status, []byte(refusal.Body)) {
			t.Errorf("%d isn't known for an invalid token: %s", refusal.Status, refusal.Body)
		}
	}
}

func TestSaysInvalidByStatus(t *testing.T) {
	for _, tt := range []struct {
		body                                string
		badRequest, unauthorized, forbidden bool
	}{
		// More than the sentence: a 400 may be about anything.
		{`{"message":"PERMISSION_DENIED: Invalid access token. Sign in again."}`, false, true, true},
		{"<html><head><title>Error 403 Token is expiring within 30 seconds. (token expired)</title></head></html>", false, true, true},
		// Nothing of a token.
		{"", false, false, false},
		{"{}", false, false, false},
		{"{", false, false, false},
		{"Unauthorized", false, false, false},
		{`{"error_code":"UNAUTHENTICATED","message":"Credential was not sent or was of an unsupported type for this API."}`, false, false, false},
		{`{"error":"the model's own key is wrong"}`, false, false, false},
		// What its user may not do.
		{`{"error_code":"PERMISSION_DENIED","message":"User does not have permission to query the endpoint."}`, false, false, false},
		{`{"error_code":"PERMISSION_DENIED","message":"User has no CAN_USE on tokens"}`, false, false, false},
		{`{"error_code":"PERMISSION_DENIED","message":"PERMISSION_DENIED: Token is not allowed to use this scope"}`, false, false, false},
		{`{"error_code":403,"message":"Provided access token does not have required scopes: authentication"}`, false, false, false},
		{`{"error_code":"PERMISSION_DENIED","message":"API tokens are disabled for user 7"}`, false, false, false},
		{`{"error_code":403,"message":"Source IP address: 192.0.2.1 is blocked by Databricks IP ACL for workspace: 7474646471015793 [ReqId: d326a0e7]"}`, false, false, false},
		{`{"error_code":403,"message":"Invalid access to Org: 1"}`, false, false, false},
		{"<html><title>Invalid access token</title><pre>You may not do this</pre></html>", false, false, false},
		// Another kind of token.
		{`{"error_code":"BAD_REQUEST","message":"Bad request: json: invalid token '}'"}`, false, false, false},
		{`{"error_code":"BAD_REQUEST","message":"Invalid token at position 17"}`, false, false, false},
		{`{"error":{"message":"Invalid token count: max_tokens must be positive","type":"invalid_request_error"}}`, false, false, false},
		{"Invalid Token: '<' in JSON", false, false, false},
		{"Your request holds an invalid token", false, false, false},
		{`[]`, false, false, false},
		{`{"message":"a model's words: Invalid access token, and much more"}`, false, false, false},
	} {
		for status, want := range map[int]bool{400: tt.badRequest, 401: tt.unauthorized, 403: tt.forbidden} {
			if got := pat.SaysInvalid(status, []byte(tt.body)); got != want {
				t.Errorf("SaysInvalid(%d, %s) = %v, want %v", status, tt.body, got, want)
			}
		}
	}
}

func FuzzSaysInvalid(f *testing.F) {
	for _, refusal := range workspacetest.Refusals() {
		f.Add(refusal.Status, []byte(refusal.Body))
	}
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		if pat.SaysInvalid(status, body) && status/100 != 4 {
			t.Errorf("%d says it: %q", status, body)
		}
	})
}

func TestMessage(t *testing.T) {
	for body, want := range map[string]string{
		"":                                     "",
		"{":                                    "",
		"upstream\n  connect error":            "upstream connect error",
		`{"error_code":7,"message":"a \n b"}`:  "a b",
		`{"error":"x","detail":"more of it"}`:  "more of it",
		`{"error":{"message":"in the error"}}`: "in the error",
		"<html><title>502 Bad <b>Gateway</b></title><h1>nginx</h1>": "502 Bad Gateway",
		"<html><h1>502 &amp; more</h1></html>":                      "502 & more",
	} {
		if got := pat.Message([]byte(body)); got != want {
			t.Errorf("Message(%s) = %q, want %q", body, got, want)
		}
	}
}
