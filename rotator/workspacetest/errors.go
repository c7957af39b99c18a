package workspacetest

import (
	"encoding/json"
	"net/http"
)

// Refusal is an answer that says that the token isn't valid.
type Refusal struct {
	Status      int
	ContentType string
	Body        string
}

// Refusals returns the forms that have been seen of Databricks: gateways and
// services differ. A Workspace gives the first.
func Refusals() []Refusal {
	const (
		plain = "text/plain; charset=utf-8"
		page  = "<html>\n<head>\n<meta http-equiv=\"Content-Type\" content=\"text/html;charset=utf-8\"/>\n<title>Error 403 Invalid access token.</title>\n</head>\n" +
			"<body><h2>HTTP ERROR 403</h2>\n<p>Problem accessing the API. Reason:\n<pre>    Invalid access token.</pre></p>\n</body>\n</html>\n"
	)
	return []Refusal{
		{http.StatusForbidden, "application/json", `{"error_code":403,"message":"Invalid access token."}`},
		{http.StatusUnauthorized, plain, "Invalid Token"},
		{http.StatusBadRequest, plain, "Invalid Token"},
		{http.StatusForbidden, "text/html; charset=utf-8", page},
		{http.StatusForbidden, "application/json", `{"error_code":403,"message":"Token is expired"}`},
		{http.StatusForbidden, "application/json", `{"error_code":403,"message":"Invalid access token. [ReqId: 145ae51b-da74-40a7-ac56-0ad190834faf]"}`},
	}
}

// refuse answers a request without a valid token.
func (w *Workspace) refuse(c *call) {
	if c.in.Header.Get("Authorization") == "" {
		writeError(c, http.StatusUnauthorized, "UNAUTHENTICATED", "Credential was not sent or was of an unsupported type for this API.")
		return
	}
	refusal := Refusals()[0]
	writeBody(c, refusal.Status, refusal.ContentType, refusal.Body)
}

// writeError writes an error as most of the API does: error_code is a string
// (which it isn't for an invalid token).
func writeError(rw http.ResponseWriter, status int, code, message string) {
	writeJSON(rw, status, map[string]string{"error_code": code, "message": message})
}

func writeNotFound(c *call) {
	writeError(c, http.StatusNotFound, "ENDPOINT_NOT_FOUND", "No API found for '"+c.in.Method+" "+c.path+"'")
}

func writeJSON(rw http.ResponseWriter, status int, v any) {
	writeBody(rw, status, "application/json", toJSON(v))
}

func writeBody(rw http.ResponseWriter, status int, contentType, body string) {
	rw.Header().Set("Content-Type", contentType)
	rw.WriteHeader(status)
	_, _ = rw.Write([]byte(body)) //nolint:gosec // it answers programs, and says what the fault is to say
}

func toJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // what is encoded here can be
	}
	return string(b)
}
