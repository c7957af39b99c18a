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
	"strconv"
	"time"
	"unicode/utf8"
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

	oauth bool // an access token: it authenticates, and stands in no list
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
	return *w.add(Token{User: opts.User, Comment: opts.Comment, Scopes: opts.Scopes, Value: opts.Value}, opts.Lifetime)
}

// add makes t a token of the workspace. The caller holds w.mu.
func (w *Workspace) add(t Token, lifetime time.Duration) *Token {
	if t.Value == "" {
		t.Value = "dapi" + randomHex(16)
	}
	t.ID = hash(t.Value)
	if w.cfg.RandomIDs {
		t.ID = randomHex(32)
	}
	t.Created = w.now().Truncate(time.Millisecond)
	if lifetime > 0 {
		t.Expiry = t.Created.Add(lifetime)
	}
	t.Scopes = slices.Clone(t.Scopes)
	w.tokens, w.unrevoked = append(w.tokens, &t), append(w.unrevoked, &t)
	w.byHash[hash(t.Value)] = &t
	return &t
}

// Revoke revokes the token with this id, whoever's it is. An unknown id is
// ignored.
func (w *Workspace) Revoke(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if i := slices.IndexFunc(w.tokens, func(t *Token) bool { return t.ID == id }); i >= 0 {
		w.revoke(w.tokens[i])
	}
}

func (w *Workspace) revoke(t *Token) {
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
	return pick(w.tokens, func(t *Token) bool { return !t.oauth })
}

// AccessTokens returns all OAuth access tokens ever given, oldest first.
func (w *Workspace) AccessTokens() []Token {
	w.mu.Lock()
	defer w.mu.Unlock()
	return pick(w.tokens, func(t *Token) bool { return t.oauth })
}

// Live returns the tokens that are valid now, oldest first: these users', or
// everybody's.
func (w *Workspace) Live(users ...string) []Token {
	now := w.now()
	w.mu.Lock()
	defer w.mu.Unlock()
	return pick(w.unrevoked, func(t *Token) bool {
		return t.valid(now) && !t.oauth && (len(users) == 0 || slices.Contains(users, t.User))
	})
}

func pick(from []*Token, want func(*Token) bool) []Token {
	var picked []Token
	for _, t := range from {
		if want(t) {
			picked = append(picked, *t)
		}
	}
	return picked
}

// info is a token as the API tells it: times in epoch milliseconds.
type info struct {
	ID      string   `json:"token_id"`
	Created int64    `json:"creation_time,omitempty"`
	Expiry  int64    `json:"expiry_time"` // -1 never
	Comment string   `json:"comment"`
	Scopes  []string `json:"scopes,omitempty"`
}

func (w *Workspace) infoOf(t *Token) info {
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
func (w *Workspace) answerTokens(c *call, r *http.Request, p string) {
	switch r.Method + " " + p {
	case "POST /api/2.0/token/create":
		w.create(c)
	case "GET /api/2.0/token/list":
		w.list(c)
	case "POST /api/2.0/token/delete":
		w.delete(c)
	default:
		writeError(c, http.StatusNotFound, "ENDPOINT_NOT_FOUND", "No API found for '"+r.Method+" "+p+"'")
	}
}

// maxComment is the longest comment that a token may have, in characters.
const maxComment = 255

func (w *Workspace) create(c *call) {
	var in struct {
		Seconds *int64   `json:"lifetime_seconds"`
		Comment string   `json:"comment"`
		Scopes  []string `json:"scopes"`
	}
	if err := json.Unmarshal(c.body, &in); err != nil {
		writeError(c, http.StatusBadRequest, "MALFORMED_REQUEST", "Invalid JSON given in the body of the request")
		return
	}
	lifetime := 730 * 24 * time.Hour // what a token gets that asks for nothing
	if in.Seconds != nil {
		lifetime = time.Duration(*in.Seconds) * time.Second
	} else if w.cfg.MaxLifetime > 0 {
		lifetime = min(lifetime, w.cfg.MaxLifetime)
	}
	switch maxAge := w.cfg.MaxLifetime; {
	case w.cfg.DisablePATs:
		writeError(c, http.StatusForbidden, "PERMISSION_DENIED", "Personal access tokens are disabled for this workspace.")
		return
	case in.Seconds != nil && *in.Seconds <= 0:
		writeError(c, http.StatusBadRequest, "INVALID_PARAMETER_VALUE", "Lifetime of the token must be a positive number of seconds, got "+strconv.FormatInt(*in.Seconds, 10)+".")
		return
	case maxAge > 0 && lifetime > maxAge:
		writeError(c, http.StatusBadRequest, "INVALID_PARAMETER_VALUE",
			fmt.Sprintf("Token lifetime must be at most %d seconds, the maximum that this workspace allows.", int64(maxAge/time.Second)))
		return
	case utf8.RuneCountInString(in.Comment) > maxComment:
		writeError(c, http.StatusBadRequest, "INVALID_PARAMETER_VALUE", "Comment is longer than 255 characters.")
		return
	}
	if most := w.cfg.GrantAtMost; most > 0 {
		lifetime = min(lifetime, most)
	}
	t, ok := w.mint(c.user, in.Comment, in.Scopes, lifetime)
	if !ok {
		writeError(c, http.StatusBadRequest, "QUOTA_EXCEEDED",
			fmt.Sprintf("The number of tokens for user %s has reached the limit of %d. Revoke tokens that are no longer used.", c.user, w.cfg.Quota))
		return
	}
	writeJSON(c, http.StatusOK, struct {
		Value string `json:"token_value"`
		Info  info   `json:"token_info"`
	}{t.Value, w.infoOf(&t)})
}

// mint makes a token unless its user has as many as the quota allows.
func (w *Workspace) mint(user, comment string, scopes []string, lifetime time.Duration) (Token, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now, live := w.now(), 0
	for _, t := range w.unrevoked {
		if t.User == user && !t.oauth && t.valid(now) {
			live++
		}
	}
	if live >= w.cfg.Quota {
		return Token{}, false
	}
	return *w.add(Token{User: user, Comment: comment, Scopes: scopes, Minted: true}, lifetime), true
}

func (w *Workspace) list(c *call) {
	out := struct {
		Infos []info `json:"token_infos,omitempty"`
	}{}
	for _, t := range w.Live(c.user) {
		if !w.now().Before(t.Created.Add(w.cfg.ListLag)) {
			out.Infos = append(out.Infos, w.infoOf(&t))
		}
	}
	writeJSON(c, http.StatusOK, out)
}

func (w *Workspace) delete(c *call) {
	var in struct {
		ID string `json:"token_id"`
	}
	if err := json.Unmarshal(c.body, &in); err != nil {
		writeError(c, http.StatusBadRequest, "MALFORMED_REQUEST", "Invalid JSON given in the body of the request")
		return
	}
	if !w.revokeOwn(c.user, in.ID) {
		writeError(c, http.StatusNotFound, "RESOURCE_DOES_NOT_EXIST", "Token with id "+in.ID+" does not exist.")
		return
	}
	writeJSON(c, http.StatusOK, struct{}{})
}

func (w *Workspace) revokeOwn(user, id string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.now()
	for _, t := range w.unrevoked {
		if t.ID == id && t.User == user && !t.oauth && t.valid(now) {
			w.revoke(t)
			return true
		}
	}
	return false
}

// hash returns the hex SHA-256 of a token's value, "" for "".
func hash(value string) string {
	if value == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(value))
	return hex.EncodeToString(sum[:])
}

func randomHex(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}
