package proxy

import "net/url"

// An Upstream is where the requests of some routes go.
type Upstream struct {
	Setting string `json:"setting"` // the flag that moves it: "--upstream"
	URL     string `json:"url"`
}

// Upstreams returns where requests go, each place once, but for those that ask
// for the workspace's own paths.
func (p *Proxy) Upstreams() []Upstream { return distinct(p.bases) }

// Upstreams returns what Proxy.Upstreams would. The error says which setting is
// wrong.
func (cfg Config) Upstreams() ([]Upstream, error) {
	bases, err := cfg.bases()
	if err != nil {
		return nil, err
	}
	return distinct(bases), nil
}

func distinct(bases [upstreams]*url.URL) []Upstream {
	var all []Upstream
	seen := map[string]bool{}
	for i, base := range bases {
		if at := base.String(); upstream(i) != workspaceBase && !seen[at] {
			seen[at] = true
			all = append(all, Upstream{Setting: upstreamName[i], URL: at})
		}
	}
	return all
}
