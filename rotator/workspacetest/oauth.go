package workspacetest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

type oauthClient struct {
	secret   string
	user     string
	lifetime time.Duration
}

// AddClient registers a service principal, which gets OAuth access tokens for
// user by its id and secret. They live so long; 0 is an hour.
func (w *Workspace) AddClient(id, secret, user string, lifetime time.Duration) {
	if lifetime <= 0 {
		lifetime = time.Hour
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.clients[id] = oauthClient{secret: secret, user: user, lifetime: lifetime}
}

// answerPublic answers the paths that need no token. It reports whether p is
// one.
func (w *Workspace) answerPublic(c *call, r *http.Request, p string) bool {
	base := "http://" + r.Host
	if r.TLS != nil || r.URL.Scheme == "https" {
		base = "https://" + r.Host
	}
	switch p {
	case "/.well-known/databricks-config":
		writeJSON(c, http.StatusOK, map[string]string{"oidc_endpoint": base + "/oidc", "workspace_id": "1234567890"})
	case "/oidc/.well-known/oauth-authorization-server":
		writeJSON(c, http.StatusOK, map[string]string{
			"issuer": base + "/oidc", "authorization_endpoint": base + "/oidc/v1/authorize", "token_endpoint": base + "/oidc/v1/token",
		})
	case "/oidc/v1/token":
		w.grant(c, r)
	default:
		return false
	}
	return true
}

// grant gives an access token for client credentials.
func (w *Workspace) grant(c *call, r *http.Request) {
	form, err := url.ParseQuery(string(c.body))
	id, secret, ok := r.BasicAuth()
	if !ok {
		id, secret = form.Get("client_id"), form.Get("client_secret")
	}
	w.mu.Lock()
	client, known := w.clients[id]
	w.mu.Unlock()
	switch {
	case err != nil || r.Method != http.MethodPost || form.Get("grant_type") != "client_credentials":
		oauthError(c, http.StatusBadRequest, "unsupported_grant_type", "Only client_credentials is supported.")
		return
	case !known || client.secret != secret:
		oauthError(c, http.StatusUnauthorized, "invalid_client", "Client authentication failed")
		return
	}
	w.mu.Lock()
	// As long as a JWT and as opaque: what only looks for "dapi" misses it.
	t := *w.add(Token{User: client.user, oauth: true, Value: "eyJ" + randomHex(40) + "." + randomHex(20)}, client.lifetime)
	w.mu.Unlock()
	writeJSON(c, http.StatusOK, struct {
		AccessToken string `json:"access_token"`
		Scope       string `json:"scope"`
		TokenType   string `json:"token_type"`
		ExpiresIn   int64  `json:"expires_in"`
	}{t.Value, "all-apis", "Bearer", int64(client.lifetime / time.Second)})
}

func oauthError(c *call, status int, code, description string) {
	writeJSON(c, status, map[string]string{"error": code, "error_description": description})
}

// answerMe answers who the token's user is, as far as its scopes allow.
func (w *Workspace) answerMe(c *call, _ *http.Request, _ string) {
	w.mu.Lock()
	scopes := c.token.Scopes
	w.mu.Unlock()
	if len(scopes) > 0 && !slices.Contains(scopes, "all-apis") && !slices.Contains(scopes, "scim") {
		writeError(c, http.StatusForbidden, "PERMISSION_DENIED", "Provided token does not have required scopes: scim")
		return
	}
	name, _, _ := strings.Cut(c.user, "@")
	user, err := json.Marshal(c.user)
	if err != nil {
		user = []byte(`""`)
	}
	writeBody(c, http.StatusOK, "application/scim+json", fmt.Sprintf(
		`{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"id":%q,"userName":%s,"displayName":%s,"active":true,"emails":[{"type":"work","value":%s,"primary":true}]}`,
		hash(c.user)[:16], user, q(name), user))
}
