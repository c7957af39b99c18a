package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"patrol/credwriter"
	"patrol/rotator/pat"
)

// A client sends one request after the other, each as its kind does.
type client struct {
	name   string // for the table
	column string // for the head of the list
	doomed bool   // it holds the first token and asks the workspace itself
	next   func() (request, error)

	// How it has fared.
	sent, failed atomic.Int64
	lastErr      atomic.Value // why the last one failed that did: a string
}

// A request is one to a model.
type request struct {
	url    string
	token  string
	stream bool
}

// clients returns the five, each with the first token in its memory, its
// environment or its files.
func (d *demo) clients() []*client {
	const chat = "/serving-endpoints/chat/completions"
	// What the first two read when they started, one of them from its environment.
	frozen := func() (request, error) { return request{url: d.ws.URL + chat, token: d.first.Value}, nil }
	return []*client{
		{name: "first token, asks the workspace", column: "direct", doomed: true, next: frozen},
		{name: "frozen shell, asks the workspace", column: "shell", doomed: true, next: frozen},
		{name: "first token, asks patrol's proxy", column: "proxy", next: func() (request, error) {
			return request{url: d.proxy + "/v1/chat/completions", token: d.first.Value, stream: true}, nil
		}},
		{name: "rereads .databrickscfg", column: "cfg", next: func() (request, error) {
			p, err := credwriter.ReadProfile(d.configPath(), "DEFAULT")
			return request{url: p.Host + chat, token: p.Token.Expose()}, err
		}},
		{name: "rereads Claude's settings", column: "claude", next: func() (request, error) {
			var settings struct {
				Env map[string]string `json:"env"`
			}
			text, err := os.ReadFile(d.claudePath())
			if err == nil {
				err = json.Unmarshal(text, &settings)
			}
			return request{url: settings.Env["ANTHROPIC_BASE_URL"] + "/v1/messages", token: settings.Env["ANTHROPIC_AUTH_TOKEN"], stream: true}, err
		}},
	}
}

// run sends requests until ctx is done. One that is under way then ends.
func (c *client) run(ctx context.Context) {
	for ctx.Err() == nil {
		q, err := c.next()
		if err == nil {
			err = q.send(context.WithoutCancel(ctx))
		}
		c.sent.Add(1)
		if err != nil {
			c.failed.Add(1)
			c.lastErr.Store(err.Error())
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// send sends the request and reads the answer to its end. Anything but a whole
// answer is an error.
func (q request) send(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	body := fmt.Sprintf(`{"model":"demo","stream":%t,"max_tokens":16,"messages":[{"role":"user","content":"Are you there?"}]}`, q.stream)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, q.url, strings.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+q.token)
	req.Header.Set("Content-Type", "application/json")
	resp, err := local.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return err
	case resp.StatusCode != http.StatusOK:
		return fmt.Errorf("%d %s", resp.StatusCode, pat.Message(answer))
	case q.stream && !bytes.Contains(answer, []byte("data: [DONE]")) && !bytes.Contains(answer, []byte("event: message_stop")):
		return errors.New("the stream was cut off")
	}
	return nil
}

// local goes to this machine and nowhere else, so no proxy is asked.
var local = &http.Client{Transport: &http.Transport{}}
