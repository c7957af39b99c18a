package workspacetest

import (
	"encoding/json"
	"net/http"
)

// InvalidForm is one of the ways in which Databricks says that a token isn't
// valid: gateways and services differ.
type InvalidForm int

// The forms that have been seen.
const (
	InvalidJSON     InvalidForm = iota // 403 {"error_code":403,"message":"Invalid access token."}
	InvalidPlain                       // 401 Invalid Token
	InvalidPlain400                    // 400 Invalid Token
	InvalidHTML                        // 403, a page with <pre>Invalid access token.</pre>
	InvalidExpired                     // 403 {"error_code":403,"message":"Token is expired"}
	InvalidReqID                       // as InvalidJSON, with " [ReqId: …]" at the end of the message
)

// InvalidForms are all of them.
func InvalidForms() []InvalidForm {
	return []InvalidForm{InvalidJSON, InvalidPlain, InvalidPlain400, InvalidHTML, InvalidExpired, InvalidReqID}
}

// Reply returns the form's status, content type and body.
func (f InvalidForm) Reply() (status int, contentType, body string) {
	switch f {
	case InvalidPlain:
		return http.StatusUnauthorized, "text/plain; charset=utf-8", "Invalid Token"
	case InvalidPlain400:
		return http.StatusBadRequest, "text/plain; charset=utf-8", "Invalid Token"
	case InvalidHTML:
		return http.StatusForbidden, "text/html; charset=utf-8",
			"<html>\n<head>\n<meta http-equiv=\"Content-Type\" content=\"text/html;charset=utf-8\"/>\n<title>Error 403 Invalid access token.</title>\n</head>\n" +
				"<body><h2>HTTP ERROR 403</h2>\n<p>Problem accessing the API. Reason:\n<pre>    Invalid access token.</pre></p>\n</body>\n</html>\n"
	case InvalidExpired:
		return http.StatusForbidden, "application/json", `{"error_code":403,"message":"Token is expired"}`
	case InvalidReqID:
		return http.StatusForbidden, "application/json", `{"error_code":403,"message":"Invalid access token. [ReqId: 145ae51b-da74-40a7-ac56-0ad190834faf]"}`
	default:
		return http.StatusForbidden, "application/json", `{"error_code":403,"message":"Invalid access token."}`
	}
}

// refuse answers a request without a valid token.
func (w *Workspace) refuse(c *call) {
	if c.req.TokenHash == "" { // set before anybody else saw the record
		writeError(c, http.StatusUnauthorized, "UNAUTHENTICATED", "Credential was not sent or was of an unsupported type for this API.")
		return
	}
	status, contentType, body := w.cfg.Invalid.Reply()
	writeBody(c, status, contentType, body)
}

// writeError writes an error as most of the API does: error_code is a string
// (which it isn't for an invalid token).
func writeError(rw http.ResponseWriter, status int, code, message string) {
	writeJSON(rw, status, struct {
		Code    string `json:"error_code"`
		Message string `json:"message"`
	}{code, message})
}

func writeJSON(rw http.ResponseWriter, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		status, b = http.StatusInternalServerError, []byte(`{"error_code":"INTERNAL_ERROR","message":"encoding the answer"}`)
	}
	writeBody(rw, status, "application/json", string(b))
}

func writeBody(rw http.ResponseWriter, status int, contentType, body string) {
	rw.Header().Set("Content-Type", contentType)
	rw.WriteHeader(status)
	_, _ = rw.Write([]byte(body)) //nolint:gosec // it answers programs, and says what the fault is to say
}
