package main

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
)

// errNoService says that nobody listens on the control socket: no service runs
// with this state, or it is only just starting. The state's lock tells which.
var errNoService = errors.New("no patrol service runs")

// pingPath is answered at once by every service.
const pingPath = "/ping"

// A controlClient talks to the service that runs with a state folder.
type controlClient struct {
	http *http.Client
	path string
	info ping // who it is
}

// dialControl finds the service of a state folder and makes sure that it
// answers. It returns errNoService if there is none, and another error if
// somebody listens and doesn't answer within patience.
func dialControl(ctx context.Context, stateDir string, patience time.Duration) (*controlClient, error) {
	path, err := findSocket(stateDir)
	if err != nil {
		return nil, err
	}
	c := &controlClient{path: path}
	c.http = &http.Client{Transport: &http.Transport{
		DialContext:       c.dial,
		DisableKeepAlives: true,
	}}
	ping, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err = c.do(ping, http.MethodGet, pingPath, nil, &c.info)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENOTDIR):
		return nil, errNoService
	case err != nil && ctx.Err() == nil && ping.Err() != nil:
		return nil, muteError(stateDir, fmt.Errorf("no answer within %v", patience))
	case err != nil:
		return nil, fmt.Errorf("asking the running service: %w", err)
	}
	return c, nil
}

// dialProfile is dialControl for a command that is about one profile: a state
// folder that was named by hand may have another's service.
func dialProfile(ctx context.Context, p selection, stateDir string, patience time.Duration) (*controlClient, error) {
	c, err := dialControl(ctx, stateDir, patience)
	if err != nil {
		return nil, err
	}
	return c, c.serves(p, stateDir)
}

// serves refuses a service that is for another profile.
func (c *controlClient) serves(p selection, stateDir string) error {
	if c.info.Profile == p.name {
		return nil
	}
	return otherProfile(p, stateDir, c.info.Profile, "the service that runs with")
}

// otherProfile says that a state folder is another profile's.
func otherProfile(p selection, stateDir, other, who string) error {
	return usageError("each profile needs a state folder of its own: leave --state-dir and PATROL_STATE_DIR out, or name another folder",
		"profile %s is meant, but %s the state in %s is for profile %s", quote(p.name), who, stateDir, quote(other))
}

// findSocket returns where the service of a state folder listens, if it runs.
func findSocket(stateDir string) (string, error) {
	path := filepath.Join(stateDir, controlName)
	target, err := os.Readlink(path)
	switch {
	case err == nil:
		// A folder where others may write leads us nowhere.
		if err := checkPrivateDir(filepath.Dir(target)); err != nil {
			return "", err
		}
		return target, nil
	case errors.Is(err, fs.ErrNotExist), len(path) > maxSocketPath:
		return "", errNoService
	case errors.Is(err, fs.ErrPermission):
		return "", hinted(fmt.Errorf("looking for the service: %w", err), "run this as the user who runs the service")
	}
	return path, nil // no link: the socket itself
}

// muteError says that a service is there, holding the lock or the socket, and
// can't be talked to.
func muteError(stateDir string, err error) error {
	return hinted(fmt.Errorf("a patrol service holds the state in %s but doesn't answer: %w", stateDir, err),
		"if it was stopped (SIGSTOP, a debugger), let it go on; else end it and start it again")
}

// dial connects and makes sure that the other end is who it should be.
func (c *controlClient) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", c.path)
	if err != nil {
		return nil, err
	}
	owner := os.Geteuid()
	if info, err := os.Stat(c.path); err == nil && owner == 0 {
		// Root may ask any user's service.
		if uid, ok := ownerOf(info); ok {
			owner = uid
		}
	}
	if err := checkPeer(conn, owner); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}

// do sends in as JSON, if it isn't nil, and reads the answer into out, if that
// isn't nil. An error of the service comes back with its hint and exit code. It
// blocks until the answer is there or ctx is done.
func (c *controlClient) do(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		raw, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("encoding a request to the service: %w", err)
		}
		body = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://patrol"+path, body)
	if err != nil {
		return fmt.Errorf("asking the service: %w", err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		if u, ok := errors.AsType[*url.Error](err); ok {
			err = u.Err // its URL tells nobody anything
		}
		if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
			return hinted(errors.New("the service ended before it had answered"), "its log says why; patrol status tells what it has left behind")
		}
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	return decodeReply(resp, out)
}

// decodeReply is the other end of reply.
func decodeReply(resp *http.Response, out any) error {
	const maxBytes = 16 << 20
	dec := json.NewDecoder(io.LimitReader(resp.Body, maxBytes))
	if resp.StatusCode == http.StatusOK {
		if out == nil {
			return nil
		}
		if err := dec.Decode(out); err != nil {
			return fmt.Errorf("reading the service's answer: %w", err)
		}
		return nil
	}
	var answer controlError
	if err := dec.Decode(&answer); err != nil || answer.Error == "" {
		return fmt.Errorf("the service answered %s", resp.Status)
	}
	return &exitError{code: answer.Exit, err: errors.New(answer.Error), hint: answer.Hint}
}
