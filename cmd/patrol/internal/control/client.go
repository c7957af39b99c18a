package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"patrol/cmd/patrol/internal/cli"
	"patrol/cmd/patrol/internal/state"
	"patrol/proxy"
	"patrol/rotator"
	"patrol/rotator/pat"
)

// ErrNoService says that nobody listens on the control socket: no service runs
// with this state, or it is only just starting. The state's lock tells which.
var ErrNoService = errors.New("no patrol service runs")

// Patience is how long a running service may take to say that it is there. It
// does so at once, unless it was stopped.
const Patience = 3 * time.Second

// A Client talks to the service that runs with a state folder. Its calls block
// until the answer is there or their context is done, and return an error of the
// service with its hint and exit code.
type Client struct {
	Ping     // who the service is
	http     *http.Client
	stateDir string
}

// Dial finds the service of a state folder and makes sure that it answers. It
// returns ErrNoService if there is none, and another error if somebody listens and
// doesn't answer within patience.
func Dial(ctx context.Context, stateDir string, patience time.Duration) (*Client, error) {
	c := &Client{stateDir: stateDir}
	c.http = &http.Client{Transport: &http.Transport{DialContext: c.dial, DisableKeepAlives: true}}
	bounded, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var err error
	c.Ping, err = call[Ping](bounded, c, http.MethodGet, "/ping", nil)
	switch {
	case err == nil:
		return c, nil
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENOTDIR):
		return nil, ErrNoService
	case errors.Is(err, fs.ErrPermission):
		return nil, cli.Hinted(fmt.Errorf("looking for the service: %w", err), "run this as the user who runs the service")
	case ctx.Err() == nil && bounded.Err() != nil:
		return nil, Unresponsive(stateDir, fmt.Errorf("no answer within %v", patience))
	}
	return nil, fmt.Errorf("asking the running service: %w", err)
}

// DialProfile is Dial for a command that is about one profile: a state folder
// that was named by hand may have another's service.
func DialProfile(ctx context.Context, profile, stateDir string, patience time.Duration) (*Client, error) {
	c, err := Dial(ctx, stateDir, patience)
	if err == nil && c.Profile != profile {
		err = OtherProfile(profile, stateDir, c.Profile, "the service that runs with")
	}
	return c, err
}

// OtherProfile says that a state folder is another profile's.
func OtherProfile(profile, stateDir, other, who string) error {
	return cli.Usage("each profile needs a state folder of its own: leave --state-dir and PATROL_STATE_DIR out, or name another folder",
		"profile %s is meant, but %s the state in %s is for profile %s", cli.Quote(profile), who, stateDir, cli.Quote(other))
}

// Unresponsive says that a service is there, holding the lock or the socket, and
// can't be talked to.
func Unresponsive(stateDir string, err error) error {
	return cli.Hinted(fmt.Errorf("a patrol service holds the state in %s but doesn't answer: %w", stateDir, err),
		"if it was stopped (SIGSTOP, a debugger), let it go on; else end it and start it again")
}

// Status asks what the service is doing.
func (c *Client) Status(ctx context.Context) (Status, error) {
	return call[Status](ctx, c, http.MethodGet, "/status", nil)
}

// Upstreams asks where the proxy sends requests.
func (c *Client) Upstreams(ctx context.Context) ([]proxy.Upstream, error) {
	return call[[]proxy.Upstream](ctx, c, http.MethodGet, "/upstreams", nil)
}

// Token asks for the token in use.
func (c *Client) Token(ctx context.Context) (pat.Token, error) {
	s, err := call[secret](ctx, c, http.MethodGet, "/token", nil)
	return pat.New(s.Token, c.Host), err
}

// Rotate has the service rotate.
func (c *Client) Rotate(ctx context.Context) (Rotation, error) {
	return call[Rotation](ctx, c, http.MethodPost, "/rotate", nil)
}

// Login gives the service a token to go on from.
func (c *Client) Login(ctx context.Context, token string) (Rotation, error) {
	body, _ := json.Marshal(secret{token}) // a string can be encoded
	return call[Rotation](ctx, c, http.MethodPost, "/login", body)
}

// Logout has the service log out.
func (c *Client) Logout(ctx context.Context) (rotator.LogoutResult, error) {
	return call[rotator.LogoutResult](ctx, c, http.MethodPost, "/logout", nil)
}

// ReloadKeys has the service take up the client keys that stand in the state folder.
func (c *Client) ReloadKeys(ctx context.Context) error {
	_, err := call[struct{}](ctx, c, http.MethodPost, "/keys", nil)
	return err
}

// dial connects and makes sure that the other end is who it should be. Root may ask
// any user's service.
func (c *Client) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	var conn *net.UnixConn
	err := withSocketPath(c.stateDir, func(path string) (err error) {
		var d net.Dialer
		conn, err = d.DialUnix(ctx, "unix", nil, &net.UnixAddr{Name: path})
		return err
	})
	if err != nil {
		return nil, err
	}
	owner := os.Geteuid()
	if info, err := os.Stat(filepath.Join(c.stateDir, SocketName)); err == nil && owner == 0 {
		owner, _ = state.OwnerOf(info)
	}
	if err := checkPeer(conn, owner); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}

// call sends a request and returns the answer.
func call[T any](ctx context.Context, c *Client, method, path string, body []byte) (out T, err error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://patrol"+path, bytes.NewReader(body))
	if err != nil {
		return out, fmt.Errorf("asking the service: %w", err)
	}
	resp, err := c.http.Do(req)
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err // its URL tells nobody anything
	}
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return out, cli.Hinted(errors.New("the service ended before it had answered"), "its log says why; patrol status tells what it has left behind")
	case err != nil:
		return out, err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode == http.StatusNotFound {
		return out, cli.Hinted(fmt.Errorf("the running service, patrol %s, doesn't know what it was asked for (%s)", c.Version, resp.Status), StartAgain)
	}
	return out, decodeReply(resp, &out)
}

// decodeReply is the other end of reply.
func decodeReply(resp *http.Response, out any) error {
	const maxBytes = 16 << 20
	dec := json.NewDecoder(io.LimitReader(resp.Body, maxBytes))
	if resp.StatusCode == http.StatusOK {
		if err := dec.Decode(out); err != nil {
			return fmt.Errorf("reading the service's answer: %w", err)
		}
		return nil
	}
	var answer failure
	if err := dec.Decode(&answer); err != nil || answer.Error == "" {
		return fmt.Errorf("the service answered %s", resp.Status)
	}
	if answer.Exit == cli.ExitUsageBefore {
		answer.Exit = cli.ExitUsage
	}
	return &cli.Error{Code: answer.Exit, Err: errors.New(answer.Error), Hint: answer.Hint}
}
