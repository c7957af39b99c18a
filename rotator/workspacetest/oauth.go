package workspacetest

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

type oauthClient struct{ secret, user string }

// accessLife is how long an OAuth access token lives.
const accessLife = time.Hour

// AddClient registers a service principal, which gets OAuth access tokens for
// user by its id and secret.
func (w *Workspace) AddClient(id, secret, user string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.clients[id] = oauthClient{secret, user}
}

// answerPublic answers the paths that need no token. It reports whether the
// call's is one.
func (w *Workspace) answerPublic(c *call) bool {
	base := "http://" + c.in.Host
	if c.in.TLS != nil {
		base = "https://" + c.in.Host
	}
	switch c.path {
	case "/.well-known/databricks-config":
		writeJSON(c, http.StatusOK, map[string]string{"oidc_endpoint": base + "/oidc", "workspace_id": "1234567890"})
	case "/oidc/.well-known/oauth-authorization-server":
		writeJSON(c, http.StatusOK, map[string]string{
			"issuer": base + "/oidc", "authorization_endpoint": base + "/oidc/v1/authorize", "token_endpoint": base + "/oidc/v1/token",
		})
	case "/oidc/v1/token":
		w.grant(c)
	default:
		return false
	}
	return true
}

// grant gives an access token for client credentials.
func (w *Workspace) grant(c *call) {
	form, err := url.ParseQuery(string(c.body))
	if err != nil || c.in.Method != http.MethodPost || form.Get("grant_type") != "client_credentials" {
		writeJSON(c, http.StatusBadRequest, map[string]string{"error": "unsupported_grant_type"})
		return
	}
	id, secret, ok := c.in.BasicAuth()
	if !ok {
		id, secret = form.Get("client_id"), form.Get("client_secret")
	}
	t, ok := w.accessToken(id, secret)
	if !ok {
		writeJSON(c, http.StatusUnauthorized, map[string]string{"error": "invalid_client"})
		return
	}
	writeJSON(c, http.StatusOK, map[string]any{
		"access_token": t.Value, "scope": "all-apis", "token_type": "Bearer", "expires_in": int64(accessLife / time.Second),
	})
}

// accessToken makes one, which stands in no list, if the client and its secret are known.
func (w *Workspace) accessToken(id, secret string) (Token, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	client, ok := w.clients[id]
	if !ok || client.secret != secret {
		return Token{}, false
	}
	// As long as a JWT and as opaque: what only looks for "dapi" misses it.
	return *w.acceptLocked(Token{User: client.user, Value: "eyJ" + randomHex(40) + "." + randomHex(20)}, accessLife), true
}

// answerMe answers who the token's user is, as far as its scopes allow.
func (w *Workspace) answerMe(c *call) {
	if scopes := c.token.Scopes; len(scopes) > 0 && !slices.Contains(scopes, "all-apis") && !slices.Contains(scopes, "scim") {
		writeError(c, http.StatusForbidden, "PERMISSION_DENIED", "Provided token does not have required scopes: scim")
		return
	}
	name, _, _ := strings.Cut(c.token.User, "@")
	writeJSON(c, http.StatusOK, map[string]any{
		"schemas": []string{"urn:ietf:params:scim:schemas:core:2.0:User"}, "id": hash(c.token.User)[:16],
		"userName": c.token.User, "displayName": name, "active": true,
		"emails": []map[string]any{{"type": "work", "value": c.token.User, "primary": true}},
	})
}
