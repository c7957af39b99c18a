package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"patrol/credwriter"
)

// demoClient sends one request after the other, each as its kind does.
type demoClient struct {
	name   string // for the table
	column string // for the head of the list
	doomed bool   // it holds the first token and asks the workspace itself

	ask func(context.Context) error

	work sync.WaitGroup
	mu   sync.Mutex
	demoCount
}

// demoCount is how a client has fared.
type demoCount struct {
	sent, failed int
	last         error // of the last one that failed
	ok           bool  // the last one didn't
}

// clients returns the five, each with the first token in its memory, its
// environment or its files.
func (d *demo) clients() []*demoClient {
	direct := demoRequest{url: d.ws.URL + "/serving-endpoints/chat/completions", token: d.first.Value}
	agent := demoRequest{url: d.proxy + "/v1/chat/completions", token: d.first.Value, stream: true}
	// The environment of a shell, as it was when the shell started.
	shell := map[string]string{"DATABRICKS_HOST": d.ws.URL, "DATABRICKS_TOKEN": d.first.Value}
	return []*demoClient{
		{name: "first token, asks the workspace", column: "direct", doomed: true, ask: direct.send},
		{name: "frozen shell, asks the workspace", column: "shell", doomed: true, ask: func(ctx context.Context) error {
			return demoRequest{url: shell["DATABRICKS_HOST"] + direct.path(), token: shell["DATABRICKS_TOKEN"]}.send(ctx)
		}},
		{name: "first token, asks patrol's proxy", column: "proxy", ask: agent.send},
		{name: "rereads .databrickscfg", column: "cfg", ask: func(ctx context.Context) error {
			p, err := credwriter.ReadProfile(d.configPath(), "DEFAULT")
			if err != nil {
				return err
			}
			return demoRequest{url: p.Host + direct.path(), token: p.Token.Expose()}.send(ctx)
		}},
		{name: "rereads Claude's settings", column: "claude", ask: func(ctx context.Context) error {
			var settings struct {
				Env map[string]string `json:"env"`
			}
			text, err := os.ReadFile(d.claudePath())
			if err == nil {
				err = json.Unmarshal(text, &settings)
			}
			if err != nil {
				return fmt.Errorf("reading Claude's settings: %w", err)
			}
			return demoRequest{
				url: settings.Env["ANTHROPIC_BASE_URL"] + "/v1/messages", token: settings.Env["ANTHROPIC_AUTH_TOKEN"], stream: true,
			}.send(ctx)
		}},
	}
}

// begin sends requests until ctx is done. One that is under way then ends.
func (c *demoClient) begin(ctx context.Context) {
	c.work.Go(func() {
		for ctx.Err() == nil {
			c.note(c.ask(context.WithoutCancel(ctx)))
			select {
			case <-ctx.Done():
			case <-time.After(demoPause):
			}
		}
	})
}

func (c *demoClient) join() { c.work.Wait() }

func (c *demoClient) note(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sent++
	c.ok = err == nil
	if err != nil {
		c.failed++
		c.last = err
	}
}

func (c *demoClient) count() demoCount {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.demoCount
}

// demoRequest is one request to a model.
type demoRequest struct {
	url    string
	token  string
	stream bool
}

// path is where in the workspace the model is.
func (q demoRequest) path() string { return q.url[strings.Index(q.url, "/serving-endpoints"):] }

// send sends it and reads the answer to its end. Anything but a whole answer
// is an error.
func (q demoRequest) send(ctx context.Context) error {
	const patience = 5 * time.Second
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	body := fmt.Sprintf(`{"model":"demo","stream":%t,"max_tokens":16,"messages":[{"role":"user","content":"Are you there?"}]}`, q.stream)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, q.url, strings.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+q.token)
	req.Header.Set("Content-Type", "application/json")
	resp, err := demoHTTP.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return demoRefusal(resp)
	}
	if q.stream {
		return readStream(resp.Body)
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

// demoHTTP goes to this machine and nowhere else, so no proxy is asked.
var demoHTTP = &http.Client{Transport: &http.Transport{}}

// demoRefusal is what the workspace said.
func demoRefusal(resp *http.Response) error {
	const enough = 4 << 10
	text, _ := io.ReadAll(io.LimitReader(resp.Body, enough)) // what came of it will do
	var said struct {
		Message string `json:"message"`
	}
	if json.Unmarshal(text, &said) == nil && said.Message != "" {
		text = []byte(said.Message)
	}
	return fmt.Errorf("%d %s", resp.StatusCode, bytes.TrimSpace(text))
}

// readStream reads server-sent events to the one that ends them.
func readStream(r io.Reader) error {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		if text := lines.Text(); text == "data: [DONE]" || text == "event: message_stop" {
			_, err := io.Copy(io.Discard, r)
			return err
		}
	}
	return errors.Join(errors.New("the stream was cut off"), lines.Err())
}
