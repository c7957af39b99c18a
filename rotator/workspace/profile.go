package workspace

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/databricks/databricks-sdk-go/config"

	"patrol/rotator/pat"
)

// AsProfile returns a session that acts as a profile of a .databrickscfg file
// says, by any way to authenticate that the SDK knows. The profile must name
// this client's host. It reads the file and asks the workspace how it
// authenticates, within the client's timeout; later calls use what it read.
//
// A token endpoint is asked at the first call, and again when its token nears
// its end.
func (c *Client) AsProfile(ctx context.Context, configFile, profile string) (*Session, error) {
	doing := "reading profile " + profile
	if profile == "" {
		return nil, errors.New("reading profile: no name given")
	}
	p := &profileAuth{c: c, name: profile, busy: make(chan struct{}, 1)}
	p.cfg = &config.Config{
		Profile:                  profile,
		ConfigFile:               configFile,
		Loaders:                  []config.Loader{config.ConfigFile},
		HTTPTransport:            signIn{p},
		HTTPTimeoutSeconds:       int(c.timeout.Seconds()) + 1,
		RetryTimeoutSeconds:      1,
		DisableAsyncTokenRefresh: true, // or it would do so in a goroutine that nobody knows
	}
	p.cfg.HostMetadataResolver = p.metadata
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	if err := p.within(ctx, p.cfg.EnsureResolved); err != nil {
		return nil, fmt.Errorf("%s: %w", doing, err)
	}
	host := p.cfg.CanonicalHostName()
	switch h, err := pat.ParseHost(host); {
	case host == "":
		return nil, fmt.Errorf("%s: it has no host, or isn't there; add \"host = %s\" to it", doing, c.host)
	case err != nil || !h.MaySame(c.host):
		return nil, fmt.Errorf("%s: its host is %s, and the workspace is %s", doing, redact(host, nil), c.host)
	}
	chooseAuth(p.cfg)
	return &Session{c: c, as: p}, nil
}

// profileAuth authenticates as a profile says.
type profileAuth struct {
	c    *Client
	name string
	cfg  *config.Config
	busy chan struct{} // holds one while the SDK authenticates

	answer atomic.Pointer[signInAnswer] // the latest that the SDK got while it did
}

// signInAnswer is an answer that the SDK got while it signed in.
type signInAnswer struct {
	granting   bool // it was asked for a token, and not about itself
	status     int
	retryAfter time.Duration
	body       []byte
}

// metadata asks the workspace about itself, as the SDK does. It is worth
// trying and no more: many have none, and the SDK would write a warning about
// that to stderr.
func (p *profileAuth) metadata(ctx context.Context, host string) (*config.HostMetadata, error) {
	m, err := p.cfg.DefaultHostMetadataResolver()(ctx, host)
	if err != nil || m.OIDCEndpoint == "" || strings.Contains(m.OIDCEndpoint, "{account_id}") && m.AccountID == "" {
		return nil, nil //nolint:nilerr,nilnil // as above
	}
	return m, nil
}

func (p *profileAuth) authenticate(ctx context.Context) (http.Header, []string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, p.c.host.String(), nil)
	if err != nil {
		return nil, nil, fmt.Errorf("authenticating as profile %s: %w", p.name, err)
	}
	if err := p.within(ctx, func() error { return p.cfg.Authenticate(r) }); err != nil {
		return nil, nil, fmt.Errorf("authenticating as profile %s: %w", p.name, err)
	}
	secrets := p.secrets()
	for _, values := range r.Header {
		for _, v := range values {
			_, credential, _ := strings.Cut(v, " ")
			secrets = append(secrets, v, credential)
		}
	}
	return r.Header, secrets, nil
}

// within runs what of the SDK can't be cancelled, and stops waiting for it when
// ctx is done. Each of its requests ends within the client's timeout, but a
// command that it runs (databricks, az) may hang for ever: then the next one
// waits its turn, so that no more than one hangs.
func (p *profileAuth) within(ctx context.Context, do func() error) error {
	select {
	case p.busy <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("an earlier attempt to authenticate still hangs: %w", ctx.Err())
	}
	done := make(chan error, 1)
	p.answer.Store(nil)
	go func() {
		defer func() { <-p.busy }()
		done <- do()
	}()
	select {
	case err := <-done:
		return p.explain(err)
	case <-ctx.Done():
		return fmt.Errorf("no answer in time: %w", ctx.Err())
	}
}

// explain makes an error of the SDK fit to be shown.
func (p *profileAuth) explain(err error) error {
	if err == nil {
		return nil
	}
	e := &callError{}
	switch f := asFailure(err); {
	case f == nil && p.said() != "":
		e.text = redact(p.said(), p.secrets())
	case f == nil:
		e.text = redact(err.Error(), p.secrets())
	case f.cause == nil:
		e.text = f.what
	default:
		e.text, e.is = redact(f.cause.Error(), p.secrets()), []error{f.cause}
	}
	if a := p.answer.Load(); a != nil {
		e.retryAfter = a.retryAfter
		if a.granting && (a.status == http.StatusBadRequest || a.status == http.StatusUnauthorized || a.status == http.StatusForbidden) {
			e.is = append(e.is, ErrInvalidToken)
		}
	}
	return e
}

// said returns what the token endpoint gave as its reason to refuse, "" if it
// gave none. The SDK quotes the whole body.
func (p *profileAuth) said() string {
	a := p.answer.Load()
	if a == nil || a.status < 400 {
		return ""
	}
	var reason struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}
	if json.Unmarshal(a.body, &reason) != nil || reason.Error == "" {
		return ""
	}
	return fmt.Sprintf("the token endpoint answered %d %s: %s", a.status, reason.Error, reason.Description)
}

// secrets returns what the profile keeps secret.
func (p *profileAuth) secrets() []string {
	return []string{
		p.cfg.Token, p.cfg.Password, p.cfg.ClientSecret, p.cfg.AzureClientSecret,
		p.cfg.GoogleCredentials, p.cfg.ActionsIDTokenRequestToken, p.cfg.MetadataServiceURL,
	}
}

// chooseAuth says by which way to authenticate where the profile's keys tell.
// Left to itself the SDK tries the next way if one fails, and might end up as
// somebody else; and all that it says then is that none worked.
func chooseAuth(cfg *config.Config) {
	switch {
	case cfg.AuthType != "":
	case cfg.Token != "":
		cfg.AuthType = "pat"
	case cfg.ClientID != "" && cfg.ClientSecret != "":
		cfg.AuthType = "oauth-m2m"
	case cfg.AzureClientSecret != "":
		cfg.AuthType = "azure-client-secret"
	case cfg.Username != "" && cfg.Password != "":
		cfg.AuthType = "basic"
	}
}

// signIn is the transport by which the SDK signs in: to any host, since token
// endpoints have their own. It makes every failure final, where the SDK would
// go on for a minute, and ends each request within the client's timeout.
type signIn struct{ p *profileAuth }

// RoundTrip implements http.RoundTripper.
func (s signIn) RoundTrip(r *http.Request) (*http.Response, error) {
	c := s.p.c
	ctx, cancel := context.WithTimeout(r.Context(), c.timeout)
	defer cancel()
	resp, err := c.transport().RoundTrip(r.WithContext(ctx))
	if err != nil {
		return nil, &failure{cause: err}
	}
	defer func() { _ = resp.Body.Close() }()
	a := &signInAnswer{granting: r.Method == http.MethodPost, status: resp.StatusCode, retryAfter: retryAfter(resp.Header)}
	defer s.p.answer.Store(a)
	switch {
	case resp.StatusCode/100 == 3:
		return nil, &failure{what: "the token endpoint at " + r.URL.Host + " redirects to " + target(resp)}
	case resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode >= 500:
		return nil, &failure{what: fmt.Sprintf("the token endpoint at %s answered %d", r.URL.Host, resp.StatusCode)}
	}
	if a.body, err = io.ReadAll(io.LimitReader(resp.Body, maxReply)); err != nil {
		return nil, &failure{cause: err}
	}
	resp.Body = io.NopCloser(bytes.NewReader(a.body))
	return resp, nil
}
