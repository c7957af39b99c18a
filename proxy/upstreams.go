package proxy

import (
	"fmt"
	"net/url"
	"strings"

	"patrol/rotator/pat"
)

// GatewayOfWorkspace is the Config.Gateway of those whose workspace serves
// models under /ai-gateway.
const GatewayOfWorkspace = "workspace"

// upstreamName is the setting of each base, for people.
var upstreamName = [numBases]string{
	workspaceBase: "--host",
	chatBase:      "--upstream",
	openAIBase:    "--openai-upstream",
	anthropicBase: "--anthropic-upstream",
	geminiBase:    "--gemini-upstream",
}

// bases returns each upstream's URL. The token goes to these and nowhere else:
// the workspace that it came with, and what the user has named besides.
func (cfg *Config) bases() (bases [numBases]*url.URL, err error) {
	host, err := parseBase("--host", cfg.Host)
	if err != nil {
		return bases, err
	}
	if host.Path != "" {
		return bases, fmt.Errorf("--host %q has a path; leave it out", host)
	}
	bases = [numBases]*url.URL{
		workspaceBase: host,
		chatBase:      below(host, "/serving-endpoints"),
		openAIBase:    below(host, "/serving-endpoints"),
		anthropicBase: below(host, "/serving-endpoints/anthropic"),
		geminiBase:    below(host, "/serving-endpoints/google"),
	}
	if cfg.Gateway != "" {
		if err := cfg.gateway(&bases); err != nil {
			return bases, err
		}
	}
	set := [numBases]string{chatBase: cfg.Upstream, openAIBase: cfg.OpenAIUpstream, anthropicBase: cfg.AnthropicUpstream, geminiBase: cfg.GeminiUpstream}
	for i, s := range set {
		if s == "" {
			continue
		}
		if bases[i], err = parseBase(upstreamName[i], s); err != nil {
			return bases, err
		}
	}
	return bases, nil
}

// gateway sets the bases that an AI gateway has. A workspace's own and a
// dedicated one differ in OpenAI's.
func (cfg *Config) gateway(bases *[numBases]*url.URL) error {
	gw, openAI := below(bases[workspaceBase], "/ai-gateway"), "/codex/v1"
	if cfg.Gateway != GatewayOfWorkspace {
		named, err := parseBase("--gateway", cfg.Gateway)
		if err != nil {
			return fmt.Errorf("%w, or is the word %q", err, GatewayOfWorkspace)
		}
		own := pat.HostOf(named).MaySame(pat.HostOf(gw)) && (named.Path == "" || named.Path == gw.Path)
		if !own {
			gw, openAI = named, "/openai/v1"
		}
	}
	bases[chatBase] = below(gw, "/mlflow/v1")
	bases[openAIBase] = below(gw, openAI)
	bases[anthropicBase] = below(gw, "/anthropic")
	bases[geminiBase] = below(gw, "/gemini")
	return nil
}

func below(base *url.URL, path string) *url.URL {
	u := *base
	u.Path += path
	return &u
}

// parseBase reads the URL of an upstream; name is the setting that it comes
// from.
func parseBase(name, s string) (*url.URL, error) {
	u, err := url.Parse(s)
	switch {
	case s == "":
		return nil, fmt.Errorf("%s is missing; it looks like https://dbc-1.cloud.databricks.com", name)
	case err != nil:
		// url.Parse quotes what it was given, which may hold a password.
		return nil, fmt.Errorf("%s is not a URL; it looks like https://host/path", name)
	case u.Scheme != "https" && u.Scheme != "http":
		return nil, fmt.Errorf("%s %q doesn't start with https://", name, u.Redacted())
	case u.Hostname() == "":
		return nil, fmt.Errorf("%s %q names no host", name, u.Redacted())
	case u.User != nil:
		return nil, fmt.Errorf("%s %q holds a user or password; patrol signs in with its own token", name, u.Redacted())
	case u.Fragment != "":
		return nil, fmt.Errorf("%s %q has a fragment (#)", name, u.Redacted())
	case u.RawPath != "" || checkPath(u.Path) != nil:
		return nil, fmt.Errorf("%s %q has a path that servers may read in different ways", name, u.Redacted())
	}
	u.Path = strings.TrimRight(u.Path, "/")
	u.Host = strings.ToLower(u.Host)
	return u, nil
}

// An Upstream is where the requests of some routes go.
type Upstream struct {
	Setting string `json:"setting"` // the flag that moves it: "--upstream"
	URL     string `json:"url"`
}

// Upstreams returns where requests go, each place once, but for those that ask for the
// workspace's own paths. The error says which setting is wrong.
func (cfg Config) Upstreams() ([]Upstream, error) {
	bases, err := cfg.bases()
	var all []Upstream
	seen := map[string]bool{}
	for i, u := range bases {
		if err == nil && base(i) != workspaceBase && !seen[u.String()] {
			seen[u.String()] = true
			all = append(all, Upstream{Setting: upstreamName[i], URL: u.String()})
		}
	}
	return all, err
}
