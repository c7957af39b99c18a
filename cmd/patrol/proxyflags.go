package main

import (
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"os"
	"strconv"
	"time"

	"patrol/proxy"
	"patrol/proxy/guard"
)

// proxyOptions is what serve's flags say of the proxy alone.
type proxyOptions struct {
	upstream, anthropic, openAI, gemini *url.URL // nil: derived from gateway or host
	gateway                             string   // see proxy.Config

	caFile      string
	allowAPI    bool
	filter      bool
	wait        time.Duration
	replayLimit int // bytes

	allowUsers, allowHosts []string
	keyFile                string
}

// proxyFlagDefs returns the flags of proxyOptions.
func proxyFlagDefs() []flagDef {
	base := func(name, what, fallback string, field func(*options) **url.URL) flagDef {
		return flagDef{
			name: name, kind: "url", usage: "where " + what + " go (default " + fallback + ")",
			parse: func(o *options, s setting) (err error) {
				*field(o), err = parseBase(s, "for example https://dbc-1234.cloud.databricks.com/serving-endpoints")
				return err
			},
		}
	}
	return []flagDef{
		base("upstream", "chat completions, completions and embeddings", "{host}/serving-endpoints", func(o *options) **url.URL { return &o.proxy.upstream }),
		base("anthropic-upstream", "Anthropic's messages", "{host}/serving-endpoints/anthropic", func(o *options) **url.URL { return &o.proxy.anthropic }),
		base("openai-upstream", "OpenAI's responses and models", "{host}/serving-endpoints", func(o *options) **url.URL { return &o.proxy.openAI }),
		base("gemini-upstream", "Gemini's requests", "{host}/serving-endpoints/google", func(o *options) **url.URL { return &o.proxy.gemini }),
		{
			name: "gateway", kind: proxy.GatewayOfWorkspace + "|url",
			usage: "derive the four upstreams from an AI gateway: " + proxy.GatewayOfWorkspace + " is {host}/ai-gateway; a URL is a dedicated gateway's host",
			parse: parseGateway,
		},
		{
			name: "upstream-ca", kind: "file",
			usage: "trust the authorities in this PEM file too, besides those of the system",
			parse: func(o *options, s setting) error { o.proxy.caFile = s.value(); return nil },
		},
		{
			name: "allow-api", kind: "bool", fallback: "false", isBool: true,
			usage: "serve /api/… of the workspace too; the token API never",
			parse: func(o *options, s setting) (err error) { o.proxy.allowAPI, err = parseBool(s); return err },
		},
		{
			name: "filter", kind: "on|off", fallback: "on",
			usage: "mend what agents send that Databricks rejects, and what it sends that they misread",
			parse: parseFilter,
		},
		{
			name: "wait", kind: "duration", fallback: "10s",
			usage: "how long a request waits for a token that works, before it gets 503",
			parse: parseWait,
		},
		{
			name: "replay-limit", kind: "bytes", fallback: "16777216",
			usage: "the longest request that is kept in memory, to be sent again if its token died on the way",
			parse: parseReplayLimit,
		},
		{
			name: "allow-user", kind: "user", repeated: true,
			usage: "a further user of this machine who may use the proxy, by name or number; may be repeated",
			parse: func(o *options, s setting) error { o.proxy.allowUsers = s.values; return nil },
		},
		{
			name: "allow-host", kind: "name", repeated: true,
			usage: "a further name by which the proxy may be asked, besides localhost; may be repeated",
			parse: func(o *options, s setting) error { o.proxy.allowHosts = s.values; return nil },
		},
		{
			name: "client-key-file", kind: "file",
			usage: "keys, one a line, that let in clients whose user can't be known: not on this machine, or not on Linux",
			parse: func(o *options, s setting) error { o.proxy.keyFile = s.value(); return nil },
		},
	}
}

func parseGateway(o *options, s setting) error {
	o.proxy.gateway = s.value()
	if o.proxy.gateway == "" || o.proxy.gateway == proxy.GatewayOfWorkspace {
		return nil
	}
	u, err := parseBase(s, "--gateway "+proxy.GatewayOfWorkspace+", or the host of a dedicated one: https://1234567890.ai-gateway.cloud.databricks.com")
	if err == nil {
		o.proxy.gateway = u.String()
	}
	return err
}

func parseBool(s setting) (bool, error) {
	b, err := strconv.ParseBool(s.value())
	if err != nil {
		return false, s.wrong(s.value(), "neither true nor false", "--"+s.flag+" or --"+s.flag+"=false")
	}
	return b, nil
}

func parseFilter(o *options, s setting) error {
	switch s.value() {
	case "on":
		o.proxy.filter = true
	case "off":
		o.proxy.filter = false
	default:
		return s.wrong(s.value(), "neither on nor off", "--filter off")
	}
	return nil
}

func parseWait(o *options, s setting) error {
	d, err := parseDuration(s)
	if err != nil {
		return err
	}
	if d < 0 {
		return s.wrong(s.value(), "can't be negative", "--wait 0s answers at once")
	}
	o.proxy.wait = d
	return nil
}

func parseReplayLimit(o *options, s setting) error {
	const most = 1 << 30
	n, err := strconv.Atoi(s.value())
	if err != nil || n < 0 || n > most {
		return s.wrong(s.value(), "not a number of bytes from 0 to "+strconv.Itoa(most), "for example --replay-limit 16777216; 0 keeps none")
	}
	o.proxy.replayLimit = n
	return nil
}

// rootCAs returns whom to trust, nil for whom the system trusts.
func (p proxyOptions) rootCAs() (*x509.CertPool, error) {
	if p.caFile == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(p.caFile)
	if err != nil {
		return nil, usageError("it is a file in PEM form, with the certificates of the authorities", "--upstream-ca: %w", err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		return nil, fmt.Errorf("reading the system's certificates: %w", err)
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, usageError("it is a file in PEM form, which begins with -----BEGIN CERTIFICATE-----",
			"--upstream-ca %s: there is no certificate in it", p.caFile)
	}
	return pool, nil
}

// newGuard makes who may use the proxy known.
func (p proxyOptions) newGuard(lns []net.Listener, known func(hash string) bool, log *slog.Logger) (*guard.Guard, error) {
	cfg := guard.Config{AllowUsers: p.allowUsers, AllowHosts: p.allowHosts, KeyFile: p.keyFile, Known: known, Log: log}
	for _, ln := range lns {
		ip := addrOf(ln).Addr()
		if !ip.IsValid() {
			continue
		}
		if !ip.IsLoopback() {
			log.Warn("listening beyond this machine: clients there need a credential, and it travels in clear text",
				"listen", ln.Addr(), "keys", p.keyFile)
		}
		switch ip {
		case netip.IPv4Unspecified(), netip.IPv6Unspecified(), netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback():
		default:
			cfg.AllowHosts = append(cfg.AllowHosts, ip.String())
		}
	}
	g, err := guard.New(cfg)
	if err != nil {
		return nil, usageError("see --allow-user, --allow-host and --client-key-file in patrol serve --help", "%w", err)
	}
	return g, nil
}

// config is the proxy's, but for what belongs to the service.
func (p proxyOptions) config() proxy.Config {
	text := func(u *url.URL) string {
		if u == nil {
			return ""
		}
		return u.String()
	}
	cfg := proxy.Config{
		Upstream:          text(p.upstream),
		AnthropicUpstream: text(p.anthropic),
		OpenAIUpstream:    text(p.openAI),
		GeminiUpstream:    text(p.gemini),
		Gateway:           p.gateway,
		AllowAPI:          p.allowAPI,
		NoFilter:          !p.filter,
		Wait:              p.wait,
		ReplayLimit:       p.replayLimit,
	}
	if p.wait == 0 {
		cfg.Wait = -1
	}
	if p.replayLimit == 0 {
		cfg.ReplayLimit = -1
	}
	return cfg
}

// errUpstream says that an upstream can't be what it was said to be.
func errUpstream(err error) error {
	if err == nil {
		return nil
	}
	return usageError("the upstreams are the Databricks side: {host}/serving-endpoints, or a gateway", "setting up the proxy: %w", err)
}
