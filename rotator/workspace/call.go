package workspace

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/databricks/databricks-sdk-go/service/settings"

	"patrol/rotator/pat"
)

// MintRequest says what to mint.
type MintRequest struct {
	Lifetime time.Duration // whole seconds, rounded up; at least one
	Comment  string        // at most 255 characters, as Databricks takes them
	Scopes   []string      // nil: what the workspace gives by default
}

// mintingToken is the one call after which something may have been left behind.
const mintingToken = "minting token"

// Mint makes a token for the session's user. What it returns has a value, an
// id, and the expiry that the workspace gave it, which may be sooner than asked
// for, or never: then Expiry is zero.
//
// After an error that is ErrUncertain the workspace may have made a token that
// nobody has: it bears the request's comment.
func (s *Session) Mint(ctx context.Context, req MintRequest) (token pat.Token, info pat.Info, err error) {
	seconds := int64((req.Lifetime + time.Second - 1) / time.Second)
	if seconds < 1 {
		return token, info, fmt.Errorf("%s: %w: a lifetime of %v is less than a second", mintingToken, ErrLifetime, req.Lifetime)
	}
	err = s.call(ctx, mintingToken, func(ctx context.Context) error {
		reply, err := s.c.tokens.Create(ctx, settings.CreateTokenRequest{LifetimeSeconds: seconds, Comment: req.Comment, Scopes: req.Scopes})
		if err != nil {
			return err
		}
		token, info, err = s.c.minted(reply)
		return err
	})
	return token, info, err
}

// minted checks what the workspace calls a new token.
func (c *Client) minted(reply *settings.CreateTokenResponse) (pat.Token, pat.Info, error) {
	info := reply.TokenInfo
	bad := func(what string) (pat.Token, pat.Info, error) {
		return pat.Token{}, pat.Info{}, failed{c.unusableAnswer("the answer can't be used: the token in it " + what)}
	}
	switch {
	case reply.TokenValue == "":
		return bad("has no value")
	case !wellFormed(reply.TokenValue):
		return bad("has characters that no header or file can carry")
	case info == nil || info.TokenId == "":
		return bad("has no id")
	case info.ExpiryTime <= 0:
		return bad("never expires")
	case info.CreationTime > 0 && info.ExpiryTime <= info.CreationTime:
		return bad("expires before it begins")
	}
	t := pat.New(reply.TokenValue, c.host.String())
	t.ID = info.TokenId
	return t, describe(info), nil
}

// wellFormed reports whether a value can stand in a header, an ini file and a
// JSON string as it is.
func wellFormed(value string) bool {
	odd := func(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune("\"'\\`#;", r) }
	return len(value) <= 4096 && !strings.ContainsFunc(value, odd)
}

// describe returns what the workspace tells about a token.
func describe(info *settings.PublicTokenInfo) pat.Info {
	return pat.Info{
		ID: info.TokenId, Comment: info.Comment, Scopes: info.Scopes,
		Created: epoch(info.CreationTime), Expiry: epoch(info.ExpiryTime),
	}
}

// epoch returns the time of so many milliseconds, zero for none and for never
// (-1).
func epoch(ms int64) time.Time {
	if ms <= 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}

// List returns the tokens of the session's user, without their values.
func (s *Session) List(ctx context.Context) (tokens []pat.Info, err error) {
	err = s.call(ctx, "listing tokens", func(ctx context.Context) error {
		infos, err := s.c.tokens.ListAll(ctx)
		for i := range infos {
			tokens = append(tokens, describe(&infos[i]))
		}
		return err
	})
	return tokens, err
}

// Me returns the name of the session's user, "" where it may not ask for it: a
// token of narrow scopes works all the same.
func (s *Session) Me(ctx context.Context) (user string, err error) {
	var me struct {
		UserName string `json:"userName"`
	}
	err = s.call(ctx, "asking who the user is", func(ctx context.Context) error {
		return s.c.sdk.Do(ctx, http.MethodGet, "/api/2.0/preview/scim/v2/Me", nil, nil, nil, &me)
	})
	if errors.Is(err, ErrPermission) {
		return "", nil
	}
	return me.UserName, err
}

// Revoke revokes the token with this id. It is ErrNotFound if the session's
// user has no such token: revoked already, expired, or somebody else's.
func (s *Session) Revoke(ctx context.Context, id string) error {
	if id == "" {
		return errors.New("revoking token: no id given")
	}
	return s.call(ctx, "revoking token "+pat.ShortID(id), func(ctx context.Context) error {
		return s.c.tokens.Delete(ctx, settings.RevokeTokenRequest{TokenId: id})
	})
}

// call makes one call to the API, within the client's timeout.
func (s *Session) call(ctx context.Context, doing string, do func(context.Context) error) error {
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, s.c.timeout)
	defer cancel()
	auth, secrets, err := s.authenticate(ctx)
	if err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	x := &exchange{auth: auth, secrets: secrets}
	if err := do(x.context(ctx)); err != nil {
		err = x.explain(ctx, s.c, doing, err)
		s.c.log.DebugContext(ctx, "workspace call", "call", doing, "status", x.status, "took", time.Since(began), "error", err)
		return err
	}
	s.c.log.DebugContext(ctx, "workspace call", "call", doing, "status", x.status, "took", time.Since(began))
	return nil
}
