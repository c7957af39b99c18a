package workspace

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"

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
		HTTPTransport:            p,
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
	return &Session{c: c, authenticate: p.authenticate}, nil
}

// profileAuth authenticates as a profile says.
type profileAuth struct {
	c    *Client
	name string
	cfg  *config.Config
	busy chan struct{} // holds one while the SDK authenticates

	// failed is why the latest request failed that the SDK made to sign in; nil if it
	// didn't. Not all that the SDK asks has to work.
	failed atomic.Pointer[callError]
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
	if err == nil {
		err = p.within(ctx, func() error { return p.cfg.Authenticate(r) })
	}
	if err != nil {
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
	go func() {
		defer func() { <-p.busy }()
		p.failed.Store(nil)
		done <- p.explain(do())
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("no answer in time: %w", ctx.Err())
	}
}

// explain makes an error of the SDK fit to be shown.
func (p *profileAuth) explain(err error) error {
	if err == nil {
		return nil
	}
	e := p.failed.Load()
	if e == nil {
		e = &callError{text: redact(err.Error(), p.secrets())}
	}
	return e
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

// RoundTrip implements http.RoundTripper, by which the SDK signs in: to any host,
// since token endpoints have their own. It makes every failure final, where the SDK
// would go on for a minute, and ends each request within the client's timeout.
func (p *profileAuth) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithTimeout(r.Context(), p.c.timeout)
	defer cancel()
	resp, err := p.c.transport().RoundTrip(r.WithContext(ctx))
	var body []byte
	if err == nil {
		defer func() { _ = resp.Body.Close() }()
		body, err = io.ReadAll(io.LimitReader(resp.Body, maxReply))
	}
	if err != nil {
		e := &callError{text: redact(err.Error(), p.secrets()), is: []error{err}}
		p.failed.Store(e)
		return nil, failed{e}
	}
	e, final := p.judge(r, resp, body)
	p.failed.Store(e)
	if final {
		return nil, failed{e}
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, nil
}

// judge returns what is wrong with an answer, nil for nothing, and whether the SDK is
// not to see it.
func (p *profileAuth) judge(r *http.Request, resp *http.Response, body []byte) (e *callError, final bool) {
	endpoint := "the token endpoint at " + r.URL.Host
	status := resp.StatusCode
	final = status == http.StatusTooManyRequests || status >= 500
	switch {
	case status/100 == 3:
		return &callError{text: endpoint + " redirects to " + target(resp)}, true
	case status < 400, !final && r.Method != http.MethodPost: // the SDK may do without it
		return nil, false
	}
	e = refused(endpoint, resp, body, p.secrets())
	e.is = nil
	if slices.Contains([]int{http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden}, status) {
		e.is = []error{ErrInvalidToken}
	}
	return e, final
}
