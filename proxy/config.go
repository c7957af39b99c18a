package proxy

import (
	"context"
	"crypto/x509"
	"log/slog"
	"net"
	"time"

	"patrol/proxy/guard"
	"patrol/rotator/pat"
)

// Config says whom the proxy speaks to, and for whom. Only Host and Handovers
// are needed.
type Config struct {
	Host string // the workspace, "https://…"; tokens of another one are never used

	// The bases of the routes, URLs. Each is derived from Gateway or Host
	// where it is "". The token goes to them too: they are the user's own
	// choice.
	Upstream          string // chat completions, completions and embeddings; Host + "/serving-endpoints"
	AnthropicUpstream string // Host + "/serving-endpoints/anthropic"
	OpenAIUpstream    string // responses and models; Host + "/serving-endpoints"
	GeminiUpstream    string // Host + "/serving-endpoints/google"

	// Gateway derives those four from an AI gateway: GatewayOfWorkspace is
	// Host + "/ai-gateway", a URL is a dedicated gateway's host.
	Gateway string

	AllowAPI bool // serve /api/… too, but the token API never

	Handovers <-chan pat.Handover // new tokens, for Run

	// Ready says what is wrong, in a sentence for users that names what to do,
	// or nil. Nil func: nothing is. It is asked when a request can't be
	// served, from several goroutines at once, and must not block.
	Ready func() error

	// Warnings says what is wrong although requests are served, in sentences
	// for users that name what to do. /readyz and /health tell them and stay
	// 200. Nil func: nothing is. It must not block.
	Warnings func() []string

	// Refused is told of a token that an upstream calls invalid although it is
	// the current one. It blocks while that is looked into, and ctx is done
	// when the request waits no longer. ok: the request is sent once more,
	// with again. Not ok: its client gets the refusal, unless another token
	// has come meanwhile. Nil func: never ok. It is called from several
	// goroutines at once.
	Refused func(ctx context.Context, t pat.Token) (again pat.Token, ok bool)

	Wait time.Duration // how long a request waits for a token; 0 is 10 s, negative not at all

	// A body longer than ReplayLimit, or that ReplayMemory has no room for, is
	// passed on as it comes: it can't be sent again and isn't filtered. For room
	// it waits a second, and without a token it isn't read as long as there is
	// none. In bytes; 0 is 16 MiB for each and 256 MiB for all together, negative
	// none.
	ReplayLimit  int
	ReplayMemory int

	Guard    *guard.Guard // who may use the proxy; nil is everybody who reaches it
	NoFilter bool         // send requests and answers on as they are

	RootCAs *x509.CertPool // who signs upstreams' certificates; nil is whom the system trusts
	Log     *slog.Logger   // nil logs nothing

	// Dial connects to an upstream's "host:port", or to that of a proxy that the
	// environment names for it. Nil func: TCP.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
}

const (
	defaultWait         = 10 * time.Second
	defaultReplayLimit  = 16 << 20
	defaultReplayMemory = 256 << 20
)

// withDefaults returns cfg with each zero value that means another replaced.
func (cfg Config) withDefaults() Config {
	cfg.Wait = orDefault(cfg.Wait, defaultWait)
	cfg.ReplayLimit = orDefault(cfg.ReplayLimit, defaultReplayLimit)
	// Where a body's buffer grows there are two of them, the new one a quarter
	// larger at most.
	cfg.ReplayMemory = orDefault(cfg.ReplayMemory, max(defaultReplayMemory, cfg.ReplayLimit/4*9+9))
	if cfg.ReplayMemory == 0 {
		cfg.ReplayLimit = 0
	}
	if cfg.Ready == nil {
		cfg.Ready = func() error { return nil }
	}
	if cfg.Warnings == nil {
		cfg.Warnings = func() []string { return nil }
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return cfg
}

// orDefault returns n, where 0 is the default and what is negative is 0.
func orDefault[T ~int | ~int64](n, byDefault T) T {
	if n == 0 {
		return byDefault
	}
	return max(n, 0)
}
