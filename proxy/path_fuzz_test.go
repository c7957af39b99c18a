package proxy

import (
	"bufio"
	"net/http"
	"net/url"
	"path"
	"strings"
	"testing"

	"patrol/proxy/upstream"
)

// FuzzTarget: a path that is let pass means the same to every server, stays in
// its route, and goes upstream as it came.
func FuzzTarget(f *testing.F) {
	for _, seed := range []string{
		"/v1/messages?beta=true", "/serving-endpoints/a%20b/x", "/v1beta/models/M%3Ax", "/api/2.0/token/create", "/api/2.0/clusters/list",
		"/serving-endpoints/../api/2.0/token/create", "/serving-endpoints/%2e%2e/x", "//x", "http://evil.example/", "*", "/serving-endpoints/..;/x",
		"/api/2.0/to%E2%84%AAen/x", "/serving-endpoints/%ef%bc%8e%ef%bc%8e/x", `/a\b`, "/a%00", "/ai-gateway/x!'()*,=&$+:@~",
	} {
		f.Add("POST", seed)
	}
	cfg := Config{Host: "https://w.example"}
	bases, err := cfg.bases()
	if err != nil {
		f.Fatal(err)
	}
	rt := newRouter(bases, upstream.New(upstream.Config{}), true)
	f.Fuzz(func(t *testing.T, method, target string) {
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(method + " " + target + " HTTP/1.1\r\nHost: x\r\n\r\n")))
		if err != nil {
			return
		}
		raw, err := checkTarget(r)
		if err != nil {
			return
		}
		p := r.URL.Path
		twice, err := url.PathUnescape(p)
		if err != nil || twice != p {
			t.Errorf("%q: %q can be decoded once more", target, p)
		}
		lenient := path.Clean(strings.ReplaceAll(p, `\`, "/"))
		if p != "/" && lenient != strings.TrimSuffix(p, "/") {
			t.Errorf("%q: %q may be read as %q", target, p, lenient)
		}
		found := rt.find(p)
		if found == nil {
			return
		}
		if !found.model() && checkAPI(p) == nil && strings.Contains(strings.ToLower(lenient), "/token") {
			if s := strings.Split(strings.ToLower(lenient), "/"); len(s) > 3 && strings.HasPrefix(s[3], "token") {
				t.Errorf("%q reaches the token API", target)
			}
		}
		wire := found.target(raw, r.URL.RawQuery)
		if !strings.HasPrefix(wire, found.raw) || strings.ContainsAny(wire, " \r\n") {
			t.Errorf("%q goes to %q", target, wire)
		}
		if rest, folder := strings.CutPrefix(raw, found.from); folder && strings.HasSuffix(found.from, "/") {
			want := found.raw + rest
			if r.URL.RawQuery != "" {
				want += "?" + r.URL.RawQuery
			}
			if wire != want {
				t.Errorf("%q goes out as %q, want %q", target, wire, want)
			}
		}
	})
}
