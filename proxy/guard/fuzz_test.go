package guard

import (
	"net/http"
	"net/http/httptest"
	"net/url"
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

// FuzzOrigin holds what passes for the same origin against net/url.
func FuzzOrigin(f *testing.F) {
	for _, origin := range []string{
		"http://localhost:4000", "https://LOCALHOST:4000", "null", "", "http://localhost:4000/", "http://localhost:4000@evil.com", "http://localhost:4000.evil.com",
		"http://evil.com#localhost:4000", "file://", "http:localhost:4000", "HTTP://localhost:4000",
	} {
		f.Add(origin, "localhost:4000")
	}
	f.Add("http://evil.com:4000", "evil.com:4000")
	g := newGuard(f, Config{Known: knowsKey})
	f.Fuzz(func(t *testing.T, origin, host string) {
		r := httptest.NewRequest(http.MethodPost, "/", nil)
		r.Host = host
		r.Header = http.Header{"Origin": {origin}, "X-Api-Key": {key}}
		if g.Check(r) != nil {
			return
		}
		u, err := url.Parse(origin)
		if err != nil || !strings.EqualFold(u.Host, host) || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || u.Path != "" || u.RawQuery != "" || u.Fragment != "" {
			t.Errorf("Origin %q passes for %q: %+v, %v", origin, host, u, err)
		}
		switch name := strings.ToLower(u.Hostname()); name {
		case "localhost", "127.0.0.1", "::1":
		default:
			t.Errorf("a page of %q is let in", name)
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
