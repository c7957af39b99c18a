package guard

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// FuzzHost holds the parser against a pattern that says the same.
func FuzzHost(f *testing.F) {
	for _, host := range []string{
		"localhost", "LOCALHOST:4000", "127.0.0.1:1", "[::1]:65535", "[::1%25lo]", "localho\u017ft", "127.1", "localhost.", "a@localhost", "[::1]x:1",
		"x.example:99999", "[", "]", "[]", ":", "", "localhost:4000:1", "127.0.0.1.evil.com", "[2001:db8::7]:80", "X.Example",
	} {
		f.Add(host)
	}
	g := newGuard(f, Config{AllowHosts: []string{"x.example", "2001:db8::7"}})
	allowed := regexp.MustCompile(`\A(?:[lL][oO][cC][aA][lL][hH][oO][sS][tT]|127\.0\.0\.1|\[::1\]|[xX]\.[eE][xX][aA][mM][pP][lL][eE]|\[2001:[dD][bB]8::7\])(?::([0-9]{1,5}))?\z`)
	f.Fuzz(func(t *testing.T, authority string) {
		host, ok := hostOf(authority)
		match := allowed.FindStringSubmatch(authority)
		want := match != nil
		if want && match[1] != "" {
			port, _ := strconv.Atoi(match[1])
			want = port < 1<<16
		}
		if got := ok && slices.Contains(g.hosts, host); got != want {
			t.Errorf("%q is let in: %v, want %v", authority, got, want)
		}
		if !ok {
			return
		}
		if host != strings.ToLower(host) || !strings.HasPrefix(strings.ToLower(authority), host) {
			t.Errorf("the host of %q is %q", authority, host)
		}
		if again, ok := hostOf(host); !ok || again != host {
			t.Errorf("the host of the host %q is %q, %v", host, again, ok)
		}
		if p := displayAuthority(authority); strings.ContainsFunc(p, func(r rune) bool { return r < ' ' || r > '~' }) {
			t.Errorf("%q is printed as %q", authority, p)
		}
	})
}

// FuzzPage: whatever stands in the fields by which browsers tell of pages, nothing but
// "none" lets a request through, and no navigation goes upstream.
func FuzzPage(f *testing.F) {
	for _, site := range []string{"", "none", "same-origin", "same-site", "cross-site", "None", "none,none"} {
		for _, mode := range []string{"", "navigate", "Navigate", "cors", "no-cors"} {
			f.Add("", site, mode)
		}
	}
	f.Add("null", "none", "cors")
	g := newGuard(f, Config{})
	f.Fuzz(func(t *testing.T, origin, site, mode string) {
		r := httptest.NewRequest(http.MethodPost, "/", nil)
		r.Host = "localhost"
		r.Header = http.Header{"X-Api-Key": {key}, "Sec-Fetch-Mode": {mode}}
		if origin != "" {
			r.Header["Origin"] = []string{origin}
		}
		if site != "" {
			r.Header["Sec-Fetch-Site"] = []string{site}
		}
		_, page := g.Check(r, OwnPage)
		if want := origin == "" && (site == "" || site == "none"); (page == nil) != want {
			t.Errorf("a page of ours: %v", page)
		}
		if _, up := g.Check(r, Upstream); (up == nil) != (page == nil && !strings.EqualFold(mode, "navigate")) {
			t.Errorf("upstream: %v", up)
		}
	})
}

func FuzzKeys(f *testing.F) {
	f.Add([]byte(keyA + "\n# x\n" + keyB))
	f.Add([]byte("\xef\xbb\xbf" + keyA + "\r\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		sums, err := parseKeys(data)
		if (err == nil) != (len(sums) > 0) {
			t.Errorf("%d keys, %v", len(sums), err)
		}
		if lines := 1 + strings.Count(string(data), "\n"); len(sums) > lines {
			t.Errorf("%d keys in %d lines", len(sums), lines)
		}
	})
}
