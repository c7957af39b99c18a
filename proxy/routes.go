package proxy

import (
	"net/http"
	"net/url"
	"strings"

	"patrol/proxy/upstream"
	"patrol/rotator/pat"
)

// api says in whose form a request speaks, and so the answers that patrol
// writes itself.
type api int

const (
	chat        api = iota // OpenAI's chat completions
	openAI                 // another of OpenAI's
	responses              // OpenAI's responses
	messages               // Anthropic's messages
	countTokens            // the same, to be counted only
	anthropic              // another of Anthropic's
	gemini                 // Google's
	databricks             // Databricks' own
)

// base names one of the URLs below which routes lie, which a configuration can set.
type base int

const (
	workspaceBase base = iota // the workspace itself
	chatBase
	openAIBase
	anthropicBase
	geminiBase
	numBases // how many there are
)

// table is every path that goes upstream: as agents ask for it, in which API, and where
// it goes. A path that ends in / takes all below it along. Where several fit, the longest
// wins.
var table = []struct {
	from string
	api  api
	base base
	to   string
}{
	{"/chat/completions /v1/chat/completions", chat, chatBase, "/chat/completions"},
	{"/completions /v1/completions", openAI, chatBase, "/completions"},
	{"/embeddings /v1/embeddings", openAI, chatBase, "/embeddings"},

	{"/v1/messages /anthropic/v1/messages", messages, anthropicBase, "/v1/messages"},
	{"/v1/messages/count_tokens /anthropic/v1/messages/count_tokens", countTokens, anthropicBase, "/v1/messages/count_tokens"},

	{"/responses /v1/responses /openai/v1/responses", responses, openAIBase, "/responses"},
	{"/models /v1/models /openai/v1/models", openAI, openAIBase, "/models"},

	{"/gemini/v1beta/ /v1beta/", gemini, geminiBase, "/v1beta/"},

	// As it is, to the workspace. What stands here apart is so for its API.
	{"/serving-endpoints/", databricks, workspaceBase, "/serving-endpoints/"},
	{"/serving-endpoints/chat/completions", chat, workspaceBase, "/serving-endpoints/chat/completions"},
	{"/serving-endpoints/completions", openAI, workspaceBase, "/serving-endpoints/completions"},
	{"/serving-endpoints/embeddings", openAI, workspaceBase, "/serving-endpoints/embeddings"},
	{"/serving-endpoints/models", openAI, workspaceBase, "/serving-endpoints/models"},
	{"/serving-endpoints/responses", responses, workspaceBase, "/serving-endpoints/responses"},
	{"/serving-endpoints/anthropic/", anthropic, workspaceBase, "/serving-endpoints/anthropic/"},
	{"/serving-endpoints/anthropic/v1/messages", messages, workspaceBase, "/serving-endpoints/anthropic/v1/messages"},
	{"/serving-endpoints/anthropic/v1/messages/count_tokens", countTokens, workspaceBase, "/serving-endpoints/anthropic/v1/messages/count_tokens"},
	{"/serving-endpoints/google/", gemini, workspaceBase, "/serving-endpoints/google/"},
	{"/ai-gateway/", databricks, workspaceBase, "/ai-gateway/"},
	{"/ai-gateway/mlflow/v1/", openAI, workspaceBase, "/ai-gateway/mlflow/v1/"},
	{"/ai-gateway/mlflow/v1/chat/completions", chat, workspaceBase, "/ai-gateway/mlflow/v1/chat/completions"},
	{"/ai-gateway/codex/v1/", openAI, workspaceBase, "/ai-gateway/codex/v1/"},
	{"/ai-gateway/codex/v1/responses", responses, workspaceBase, "/ai-gateway/codex/v1/responses"},
	{"/ai-gateway/openai/v1/", openAI, workspaceBase, "/ai-gateway/openai/v1/"},
	{"/ai-gateway/openai/v1/responses", responses, workspaceBase, "/ai-gateway/openai/v1/responses"},
	{"/ai-gateway/anthropic/", anthropic, workspaceBase, "/ai-gateway/anthropic/"},
	{"/ai-gateway/anthropic/v1/messages", messages, workspaceBase, "/ai-gateway/anthropic/v1/messages"},
	{"/ai-gateway/anthropic/v1/messages/count_tokens", countTokens, workspaceBase, "/ai-gateway/anthropic/v1/messages/count_tokens"},
	{"/ai-gateway/gemini/", gemini, workspaceBase, "/ai-gateway/gemini/"},
	{mcpServices, databricks, workspaceBase, mcpServices},

	{restAPI, databricks, workspaceBase, restAPI}, // with Config.AllowAPI; see checkAPI
}

const (
	restAPI     = "/api/"                     // the folder of the workspace's REST API
	mcpServices = "/ai-gateway/mcp-services/" // that of tools, which a request may run
)

// route is a row of the table with its upstream's URL. It never changes.
type route struct {
	from string
	api  api
	to   url.URL // of all that is asked for, if from isn't a folder
	raw  string  // to's path as it goes on the wire
	host *upstream.Host
}

// router finds a path's route.
type router struct {
	exact   map[string]*route
	folders []*route
	list    string // of all, for people
}

// newRouter fills the table in with the bases, which are URLs that parseBase
// returned.
func newRouter(bases [numBases]*url.URL, c *upstream.Client, allowAPI bool) *router {
	rt := &router{exact: make(map[string]*route)}
	for _, row := range table {
		if row.from == restAPI && !allowAPI {
			continue
		}
		to := *bases[row.base]
		to.Path += row.to
		rt.list += " " + row.from
		for from := range strings.FieldsSeq(row.from) {
			r := &route{from: from, api: row.api, to: to, raw: to.EscapedPath(), host: c.Host(&to)}
			if strings.HasSuffix(from, "/") {
				rt.folders = append(rt.folders, r)
			} else {
				rt.exact[from] = r
			}
		}
	}
	return rt
}

// find returns the route of a path that checkTarget has let pass, nil if it
// has none.
func (rt *router) find(path string) *route {
	if r := rt.exact[path]; r != nil {
		return r
	}
	var best *route
	for _, r := range rt.folders {
		// The folder itself is no path of the route, and no upstream has it.
		if len(path) > len(r.from) && strings.HasPrefix(path, r.from) && (best == nil || len(r.from) > len(best.from)) {
			best = r
		}
	}
	return best
}

// wrongPath names the routes, to a person whose base URL is a little off.
func (rt *router) wrongPath(path string) string {
	const most = 200
	if len(path) > most {
		path = path[:most] + "…"
	}
	return "patrol has no route for " + path + ". It has:" + rt.list +
		". Set the agent's base URL to this address, or to it with /v1, /anthropic, /openai/v1 or /gemini."
}

// model reports whether a model answers on the route, rather than the workspace's REST
// API.
func (r *route) model() bool { return r.from != restAPI }

// repeatable reports whether a request may reach the upstream twice: a model's may,
// whatever their method; of others, those that change nothing.
func (r *route) repeatable(method string) bool {
	return r.model() && r.from != mcpServices || method == http.MethodGet || method == http.MethodHead
}

// target returns what is asked for upstream where the client asks for raw, the bytes of
// its path on the wire, with the query.
func (r *route) target(raw, query string) string {
	target := r.raw
	if strings.HasSuffix(r.from, "/") {
		// checkPath lets no letter, dot or slash come escaped, so that raw
		// starts with the folder too. It goes on as it came, escapes and all.
		target += raw[len(r.from):]
	}
	if own := r.to.RawQuery; own != "" && query != "" {
		query = own + "&" + query
	} else {
		query += own
	}
	if query == "" {
		return target
	}
	return target + "?" + query
}

// local returns our path for a URL of the upstream, if the route leads there.
func (r *route) local(to *url.URL) (path string, ok bool) {
	if !pat.HostOf(to).MaySame(pat.HostOf(&r.to)) || to.User != nil || checkPath(to.Path) != nil {
		return "", false
	}
	rest, below := strings.CutPrefix(to.EscapedPath(), r.raw)
	if !below || rest != "" && !strings.HasSuffix(r.from, "/") {
		return "", false
	}
	u := url.URL{Path: r.from, RawQuery: to.RawQuery, Fragment: to.Fragment}
	return strings.Replace(u.String(), r.from, r.from+rest, 1), true
}
