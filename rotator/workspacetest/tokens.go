package workspacetest

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"
)

// Token is a token of the workspace, with all that it knows about it. It
// prints as its id.
type Token struct {
	ID        string
	Value     string
	User      string
	Comment   string
	Scopes    []string
	Created   time.Time
	Expiry    time.Time // zero if it never expires
	Minted    bool      // through the API, by another token; else by Issue
	Revoked   bool
	RevokedAt time.Time // zero while it isn't revoked
}

// Format prints the token's id, for every verb.
func (t Token) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "token "+t.ID) }

func (t *Token) valid(now time.Time) bool {
	return !t.Revoked && (t.Expiry.IsZero() || now.Before(t.Expiry))
}

// IssueOptions say what to issue.
type IssueOptions struct {
	User     string        // "" is DefaultUser
	Comment  string        //
	Lifetime time.Duration // 0 never expires
	Scopes   []string      // nil is all
	Value    string        // "" is a random one
}

// Issue makes a token as a person does in the web UI: neither quota nor
// lifetime cap hold it back.
func (w *Workspace) Issue(opts IssueOptions) Token {
	if opts.User == "" {
		opts.User = DefaultUser
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.addLocked(Token{User: opts.User, Comment: opts.Comment, Scopes: opts.Scopes, Value: opts.Value}, opts.Lifetime)
}

// addLocked makes t a personal access token.
func (w *Workspace) addLocked(t Token, lifetime time.Duration) Token {
	if t.Value == "" {
		t.Value = "dapi" + randomHex(16)
	}
	added := w.acceptLocked(t, lifetime)
	w.tokens, w.unrevoked = append(w.tokens, added), append(w.unrevoked, added)
	return *added
}

// acceptLocked has t open the workspace from now on.
func (w *Workspace) acceptLocked(t Token, lifetime time.Duration) *Token {
	t.ID = hash(t.Value)
	if w.cfg.RandomIDs {
		t.ID = randomHex(32)
	}
	t.Created = w.now().Truncate(time.Millisecond)
	if lifetime > 0 {
		t.Expiry = t.Created.Add(lifetime)
	}
	t.Scopes = slices.Clone(t.Scopes)
	w.byHash[hash(t.Value)] = &t
	return &t
}

// Revoke revokes the token with this id, whoever's it is. An unknown id is
// ignored.
func (w *Workspace) Revoke(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if i := slices.IndexFunc(w.tokens, func(t *Token) bool { return t.ID == id }); i >= 0 {
		w.revokeLocked(w.tokens[i])
	}
}

func (w *Workspace) revokeLocked(t *Token) {
	if !t.Revoked {
		t.Revoked, t.RevokedAt = true, w.now()
		w.unrevoked = slices.DeleteFunc(w.unrevoked, func(u *Token) bool { return u == t })
	}
}

// Tokens returns all tokens ever made, revoked and expired ones too, oldest
// first.
func (w *Workspace) Tokens() []Token {
	w.mu.Lock()
	defer w.mu.Unlock()
	return copies(w.tokens)
}

// Live returns those that are valid now, oldest first: these users', or
// everybody's.
func (w *Workspace) Live(users ...string) []Token {
	w.mu.Lock()
	defer w.mu.Unlock()
	return copies(w.liveLocked(users...))
}

func (w *Workspace) liveLocked(users ...string) []*Token {
	now := w.now()
	var live []*Token
	for _, t := range w.unrevoked {
		if t.valid(now) && (len(users) == 0 || slices.Contains(users, t.User)) {
			live = append(live, t)
		}
	}
	return live
}

func copies(tokens []*Token) []Token {
	var all []Token
	for _, t := range tokens {
		all = append(all, *t)
	}
	return all
}

// info is a token as the API tells it: times in epoch milliseconds.
type info struct {
	ID      string   `json:"token_id"`
	Created int64    `json:"creation_time,omitempty"`
	Expiry  int64    `json:"expiry_time"` // -1 never
	Comment string   `json:"comment"`
	Scopes  []string `json:"scopes,omitempty"`
}

func (w *Workspace) infoOf(t Token) info {
	i := info{ID: t.ID, Created: t.Created.UnixMilli(), Expiry: -1, Comment: t.Comment, Scopes: t.Scopes}
	if w.cfg.NoCreation {
		i.Created = 0
	}
	if !t.Expiry.IsZero() {
		i.Expiry = t.Expiry.UnixMilli()
	}
	return i
}

// answerTokens answers the token API, for the bearer's user.
func (w *Workspace) answerTokens(c *call) {
	var in tokenRequest
	if c.in.Method == http.MethodPost && json.Unmarshal(c.body, &in) != nil {
		writeError(c, http.StatusBadRequest, "MALFORMED_REQUEST", "Invalid JSON given in the body of the request")
		return
	}
	switch c.in.Method + " " + c.path {
	case "POST /api/2.0/token/create":
		w.create(c, in)
	case "GET /api/2.0/token/list":
		w.list(c)
	case "POST /api/2.0/token/delete":
		w.delete(c, in.ID)
	default:
		writeNotFound(c)
	}
}

// tokenRequest is what is asked of the token API.
type tokenRequest struct {
	ID      string   `json:"token_id"`
	Seconds *int64   `json:"lifetime_seconds"`
	Comment string   `json:"comment"`
	Scopes  []string `json:"scopes"`
}

func (w *Workspace) create(c *call, in tokenRequest) {
	most := w.cfg.MaxLifetime
	lifetime := 730 * 24 * time.Hour // what a token gets that asks for nothing
	if in.Seconds != nil {
		lifetime = time.Duration(*in.Seconds) * time.Second
	} else if most > 0 {
		lifetime = min(lifetime, most)
	}
	const bad = "INVALID_PARAMETER_VALUE"
	switch {
	case w.cfg.DisablePATs:
		writeError(c, http.StatusForbidden, "PERMISSION_DENIED", "Personal access tokens are disabled for this workspace.")
		return
	case lifetime <= 0:
		writeError(c, http.StatusBadRequest, bad, fmt.Sprintf("Lifetime of the token must be a positive number of seconds, got %d.", *in.Seconds))
		return
	case most > 0 && lifetime > most:
		writeError(c, http.StatusBadRequest, bad, fmt.Sprintf("Token lifetime must be at most %.0f seconds, the maximum that this workspace allows.", most.Seconds()))
		return
	case w.cfg.GrantAtMost > 0:
		lifetime = min(lifetime, w.cfg.GrantAtMost)
	}
	t, ok := w.mint(Token{User: c.token.User, Comment: in.Comment, Scopes: in.Scopes, Minted: true}, lifetime)
	if !ok {
		writeError(c, http.StatusBadRequest, "QUOTA_EXCEEDED",
			fmt.Sprintf("The number of tokens for user %s has reached the limit of %d. Revoke tokens that are no longer used.", t.User, w.cfg.Quota))
		return
	}
	writeJSON(c, http.StatusOK, struct { // the value comes first: see broken
		Value string `json:"token_value"`
		Info  info   `json:"token_info"`
	}{t.Value, w.infoOf(t)})
}

// mint makes t a token unless its user has as many as the quota allows.
func (w *Workspace) mint(t Token, lifetime time.Duration) (Token, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.liveLocked(t.User)) >= w.cfg.Quota {
		return t, false
	}
	return w.addLocked(t, lifetime), true
}

func (w *Workspace) list(c *call) {
	infos := []info{}
	for _, t := range w.Live(c.token.User) {
		if !w.now().Before(t.Created.Add(w.cfg.ListLag)) {
			infos = append(infos, w.infoOf(t))
		}
	}
	writeJSON(c, http.StatusOK, map[string]any{"token_infos": infos})
}

func (w *Workspace) delete(c *call, id string) {
	if !w.revokeOwn(c.token.User, id) {
		writeError(c, http.StatusNotFound, "RESOURCE_DOES_NOT_EXIST", "Token with id "+id+" does not exist.")
		return
	}
	writeBody(c, http.StatusOK, "application/json", "{}")
}

func (w *Workspace) revokeOwn(user, id string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, t := range w.liveLocked(user) {
		if t.ID == id {
			w.revokeLocked(t)
			return true
		}
	}
	return false
}

// hash returns the hex SHA-256 of a token's value.
func hash(value string) string {
	sum := sha256.Sum256([]byte(value))
	return hex.EncodeToString(sum[:])
}

func randomHex(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}
