//go:build unix

package main

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"patrol/cmd/patrol/internal/state"
	"patrol/proxy"
	"patrol/proxy/guard"
	"patrol/rotator/pat"
	"patrol/rotator/workspacetest"
)

// inProcess is the proxy alone, behind its guard. It gets its tokens over the
// channel, as from the rotator, and its questions about refused ones are answered
// as the rotator answers them.
type inProcess struct {
	proxy     *proxy.Proxy
	guard     *guard.Guard
	listening []string
	ws        *workspacetest.Workspace
	host      string
	handovers chan pat.Handover
	logs      logBuffer

	mu              sync.Mutex
	current, before pat.Token
	since           time.Time // when current came
}

func startInProcess(t *testing.T, f *fixture, s settings) patrol {
	t.Helper()
	p := &inProcess{ws: f.ws, host: f.upstream.url, handovers: make(chan pat.Handover)}
	log := slog.New(slog.NewTextHandler(&p.logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
	p.newGuard(t, s, log)
	cfg := proxy.Config{
		Host: p.host, Handovers: p.handovers, Guard: p.guard, Log: log, Refused: p.refusedToken,
		Ready:    p.ready,
		Upstream: s.chat, OpenAIUpstream: s.openAI, AnthropicUpstream: s.anthropic, GeminiUpstream: s.gemini, Gateway: s.gateway,
		AllowAPI: s.allowAPI, ReplayLimit: s.replayLimit, Wait: s.wait, NoFilter: s.noFilter,
	}
	if f.ca != nil && !s.stranger {
		cfg.RootCAs = x509.NewCertPool()
		cfg.RootCAs.AppendCertsFromPEM(f.ca)
	}
	var err error
	if p.proxy, err = proxy.New(cfg); err != nil {
		t.Fatal(err)
	}
	p.serve(t, append([]string{"127.0.0.1:0"}, s.listen...))
	if !s.signedOut {
		p.rotate(t)
	}
	return p
}

func (p *inProcess) newGuard(t *testing.T, s settings, log *slog.Logger) {
	t.Helper()
	cfg := guard.Config{Token: p.tokenUse, MaxConns: s.conns, Log: log, NoOwners: s.noOwners}
	if s.allowHost != "" {
		cfg.AllowHosts = []string{s.allowHost}
	}
	for _, address := range s.listen { // as serve does
		if ip := netip.MustParseAddrPort(address).Addr(); !ip.IsLoopback() && !ip.IsUnspecified() {
			cfg.AllowHosts = append(cfg.AllowHosts, ip.String())
		}
	}
	if s.keys {
		cfg.KeyFile = filepath.Join(t.TempDir(), "keys")
		if err := os.WriteFile(cfg.KeyFile, []byte(clientKey+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var err error
	if p.guard, err = guard.New(cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.guard.Close() })
	p.guard.SetKeys(inProcessKeys(p.defaultKey(t)), nil)
}

func inProcessKeys(key string) []guard.ClientKey {
	return []guard.ClientKey{{Name: state.DefaultKey, Hash: sha256.Sum256([]byte(key))}}
}

func (p *inProcess) defaultKey(*testing.T) string { return "patrol-in-process-default" }

func (p *inProcess) revoke(t *testing.T) string {
	const lost = "patrol-in-process-revoked"
	p.guard.SetKeys(inProcessKeys(p.defaultKey(t)), []guard.ClientKey{{Name: "lost", Hash: sha256.Sum256([]byte(lost))}})
	return lost
}

// serve serves on these addresses until the test ends.
func (p *inProcess) serve(t *testing.T, addresses []string) {
	t.Helper()
	var lns []net.Listener
	for _, address := range addresses {
		ln, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		lns = append(lns, p.guard.Limit(ln))
		p.listening = append(p.listening, ln.Addr().String())
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := p.proxy.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	running.Go(func() {
		if err := p.proxy.Serve(lns...); err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	t.Cleanup(func() {
		cancel()
		_ = p.proxy.Shutdown(ctx) // nothing is to be waited for any more
		running.Wait()
		for _, tok := range p.ws.Tokens() {
			if strings.Contains(p.log(), tok.Value) {
				t.Errorf("the value of token %v is in the log", tok)
			}
		}
	})
}

// tokenUse tells the token in use from any that the workspace has ever given out.
func (p *inProcess) tokenUse(hash string) guard.TokenUse {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.current.Hash() == hash:
		return guard.TokenLive
	case slices.ContainsFunc(p.ws.Tokens(), func(tok workspacetest.Token) bool { return pat.Hash(tok.Value) == hash }):
		return guard.TokenReplaced
	}
	return guard.TokenUseless
}

func (p *inProcess) lives(tok pat.Token) bool {
	return slices.ContainsFunc(p.ws.Live(), func(live workspacetest.Token) bool { return live.ID == tok.ID })
}

// refusedToken says which token a request is to be sent with again after t, the
// current one, was called invalid.
func (p *inProcess) refusedToken(ctx context.Context, t pat.Token) (again pat.Token, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	const young = time.Minute
	switch {
	case !p.lives(t) && p.current.ID == t.ID:
		return p.current, p.renewLocked(ctx) == nil
	case !p.lives(t):
		return p.current, true
	default:
		return p.before, time.Since(p.since) < young && p.lives(p.before)
	}
}

// renewLocked hands over a new token. p.mu is held, so that one is made however
// many ask.
func (p *inProcess) renewLocked(ctx context.Context) error {
	made := p.ws.Issue(workspacetest.IssueOptions{Comment: ownComment + "in process"})
	tok := pat.New(made.Value, p.host)
	tok.ID, tok.Expiry = made.ID, made.Expiry
	p.before, p.current, p.since = p.current, tok, time.Now()
	_, err := pat.Publish(ctx, p.handovers, tok)
	return err
}

func (p *inProcess) ready() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.current.IsZero() {
		return errors.New("no token: run patrol login")
	}
	return nil
}

func (p *inProcess) addresses() []string { return p.listening }
func (p *inProcess) log() string         { return p.logs.String() }

func (p *inProcess) token(*testing.T) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.current.Expose()
}

func (p *inProcess) rotate(t *testing.T) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.renewLocked(t.Context()); err != nil {
		t.Fatalf("rotating: %v", err)
	}
}

func (p *inProcess) login(t *testing.T)                   { p.rotate(t) }
func (p *inProcess) waited(*testing.T) uint64             { return p.proxy.Stats().Waited }
func (p *inProcess) refused(*testing.T) map[string]uint64 { return p.guard.Counters() }
