package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"patrol/cmd/patrol/internal/control"
	"patrol/rotator/workspacetest"
)

// hangUp sends SIGHUP.
func (p *process) hangUp(t *testing.T) {
	t.Helper()
	if err := p.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
}

// A terminal that is closed ends the service that runs in it, as SIGTERM does.
func TestHangUpOfTerminal(t *testing.T) {
	t.Parallel()
	for _, end := range []string{"stdin", "stderr"} {
		t.Run(end, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, workspacetest.Config{})
			_, screen := openTerminal(t)
			p := &process{Cmd: exec.Command("patrol", "serve", "--listen", "127.0.0.1:0")} //nolint:noctx // the cleanup ends it
			p.Env, p.Stdout, p.Stderr = s.app.environ, p, p
			if p.Stdin = screen; end == "stderr" {
				p.Stdin, p.Stderr = nil, screen
			}
			if err := p.Start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = p.Process.Kill(); _ = p.Wait() })
			s.awaitReady(t)
			p.hangUp(t)
			if err := p.Wait(); err != nil {
				t.Errorf("%v: %s", err, p.output())
			}
			if _, err := os.Lstat(filepath.Join(s.state, control.SocketName)); err == nil {
				t.Error("the control socket is still there")
			}
		})
	}
}

// anotherAuthority returns the certificate of one that has signed nothing.
func anotherAuthority(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	authority := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, authority, authority, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// Without a terminal the service reads the files again.
func TestHangUpReadsAgain(t *testing.T) {
	t.Parallel()
	s := newSite(t, workspacetest.Config{TLS: true})
	ca := s.app.write(t, "ca.pem", anotherAuthority(t))
	p := s.patrol(t, "serve", "--listen", "127.0.0.1:0", "--upstream-ca", ca)
	await(t, func() bool {
		c, err := control.Dial(t.Context(), s.state, patience)
		if err != nil {
			return false
		}
		status, err := c.Status(t.Context())
		return err == nil && !status.Ready && strings.Contains(status.Problem, "certificate")
	})

	// The authority: a file that can't be used changes nothing.
	s.app.write(t, "ca.pem", "bogus")
	p.hangUp(t)
	await(t, func() bool { return strings.Contains(p.output(), "there is no certificate in it") })
	s.app.write(t, "ca.pem", string(s.ca))
	// What the first SIGHUP has begun may fail after the second, and pause then.
	again := time.Now()
	await(t, func() bool {
		if now := time.Now(); now.After(again) {
			p.hangUp(t)
			again = now.Add(2 * time.Second)
		}
		c, err := control.Dial(t.Context(), s.state, patience)
		if err != nil {
			return false
		}
		status, err := c.Status(t.Context())
		return err == nil && status.Ready
	})
	proxy := s.awaitReady(t)
	if status, body, err := chat(proxy); err != nil || status != http.StatusOK {
		t.Errorf("%d %s %v", status, body, err)
	}

	// An agent's file that is new.
	claude := s.app.write(t, ".claude/settings.json", `{"env":{"ANTHROPIC_BASE_URL":"`+s.url+`/serving-endpoints/anthropic","ANTHROPIC_AUTH_TOKEN":"old"}}`)
	p.hangUp(t)
	await(t, func() bool {
		raw, err := os.ReadFile(claude)
		return err == nil && strings.Contains(string(raw), s.Live()[len(s.Live())-1].Value)
	})
	if out := p.output(); !strings.Contains(out, `msg="SIGHUP: reading`) || strings.Contains(out, "dapi") {
		t.Errorf("the log doesn't say so, or too much: %s", out)
	}
	p.ends(t)
}

// Client keys that a person has edited: a file that is broken changes nothing.
func TestHangUpReadsKeys(t *testing.T) {
	t.Parallel()
	s := newSite(t, workspacetest.Config{})
	p := s.patrol(t, "serve", "--listen", "127.0.0.1:0")
	s.awaitReady(t)
	clients := func() (names []string) {
		c, err := control.Dial(t.Context(), s.state, patience)
		if err != nil {
			t.Fatal(err)
		}
		status, err := c.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, client := range status.Proxy.Clients {
			names = append(names, client.Name)
		}
		return names
	}
	file := filepath.Join(s.state, "keys")
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"broken\n", "laptop patrol-aaaaaaaaaaaaaaaaaaaaaaaaaa 2026-01-02T03:04:05Z\n"} {
		if err := os.WriteFile(file, append(slices.Clone(raw), line...), 0o600); err != nil {
			t.Fatal(err)
		}
		p.hangUp(t)
		if line == "broken\n" {
			await(t, func() bool { return strings.Contains(p.output(), "it isn't a name, a key and a time") })
		} else {
			await(t, func() bool { return slices.Contains(clients(), "laptop") })
		}
		if !slices.Contains(clients(), "default") {
			t.Errorf("after %q: %v", line, clients())
		}
	}
	p.ends(t)
}

// A service that was told to wait tries again at once.
func TestHangUpRotatesAgain(t *testing.T) {
	t.Parallel()
	s := newSite(t, workspacetest.Config{})
	s.Inject(workspacetest.Fault{
		Path: "/api/2.0/token/create", Effect: workspacetest.Answer, Times: workspacetest.Always,
		Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"600"}}, Body: `{"error_code":"REQUEST_LIMIT_EXCEEDED","message":"x"}`,
	})
	p := s.patrol(t, "serve", "--listen", "127.0.0.1:0")
	await(t, func() bool { return strings.Contains(p.output(), "the rotation failed") })
	s.Heal()
	p.hangUp(t)
	s.awaitReady(t)
	p.ends(t)
}
