package guard

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"patrol/rotator/pat"
)

// from is the server's end of a connection whose client has this address, and whose
// user nobody knows.
type from struct {
	net.Conn
	remote string
}

func (f from) LocalAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.MustParseAddrPort("192.0.2.1:4000"))
}

func (f from) RemoteAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(f.remote))
}

const (
	loopback = "127.0.0.1:50000"
	ownAddr  = "192.0.2.1:50000" // of this machine, in a network
	afar     = "198.51.100.7:50000"
)

// check has a request come from an address.
func check(g *Guard, remote string, asked Asked, header http.Header) (Client, *Refusal) {
	r := httptest.NewRequest(http.MethodPost, "/v1/messages", nil)
	r.Host = "localhost:4000"
	maps.Copy(r.Header, header)
	return g.Check(r.WithContext(g.ConnContext(r.Context(), from{remote: remote})), asked)
}

func basic(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

// TestKeys shows keys, and what is none, where nobody knows a client's user.
func TestKeys(t *testing.T) {
	file := filepath.Join(t.TempDir(), "keys")
	writeKeys(t, file, "first-client-key-0001\nsecond-client-key-002\n")
	var buf bytes.Buffer
	g := newGuard(t, Config{KeyFile: file, NoOwners: true, Log: slog.New(slog.NewTextHandler(&buf, nil))})
	tooLong := strings.Repeat("x", 1<<20)
	type headers map[string][]string
	tests := []struct {
		headers headers
		name    string // "": it isn't let in
	}{
		{headers{"Authorization": {"Bearer " + key}}, "laptop"},
		{headers{"Authorization": {"bearer   " + key + " "}}, "laptop"},
		{headers{"Authorization": {basic("anybody", key)}}, "laptop"},
		{headers{"Authorization": {basic("", key)}}, "laptop"},
		{headers{"X-Api-Key": {key}}, "laptop"},
		{headers{"X-Goog-Api-Key": {key}}, "laptop"},
		{headers{"Authorization": {"Bearer first-client-key-0001"}}, FromKeyFile},
		{headers{"X-Api-Key": {"second-client-key-002"}}, FromKeyFile},
		{headers{"Authorization": {"Bearer dummy"}, "X-Api-Key": {key}}, "laptop"}, // Claude Code with a helper
		{headers{"Authorization": {"Bearer dummy", "Bearer " + key}}, "laptop"},
		{headers{"Authorization": {"Bearer " + revokedKey}, "X-Api-Key": {key}}, "laptop"},

		{nil, ""},
		{headers{"Authorization": {key}}, ""},
		{headers{"Authorization": {"Basic " + key}}, ""},
		{headers{"Authorization": {basic(key, "x")}}, ""},
		{headers{"Authorization": {"Digest " + key}}, ""},
		{headers{"Authorization": {"Bearer"}}, ""},
		{headers{"Authorization": {"Bearer "}}, ""},
		{headers{"Authorization": {"Bearer " + key + "x"}}, ""},
		{headers{"Authorization": {"Bearer " + key[1:]}}, ""},
		{headers{"Authorization": {"Bearer " + strings.ToUpper(key)}}, ""},
		{headers{"Authorization": {"Bearer " + pat.Hash(key)}}, ""},
		{headers{"X-Api-Key": {""}}, ""},
		{headers{"X-Api-Key": {"laptop"}}, ""},
		{headers{"X-Api-Key": {"first-client-key-0002"}}, ""},
		{headers{"X-Api-Key": {tooLong}}, ""},
		{headers{"X-Api-Key": {"1", "2", "3", "4", "5", "6", "7", "8", key}}, ""},
		{headers{"Cookie": {key}}, ""},
		{headers{"Proxy-Authorization": {"Bearer " + key}}, ""},
	}
	for remote, reason := range map[string]string{loopback: "owner_unknown", ownAddr: "owner_unknown", afar: "remote"} {
		for _, test := range tests {
			client, refusal := check(g, remote, Upstream, http.Header(test.headers))
			switch {
			case test.name != "" && (refusal != nil || client.Name != test.name || client.Stranger):
				t.Errorf("%s, %v: %+v, %v", remote, test.headers, client, refusal)
			case test.name == "" && (refusal == nil || refusal.Status != 401 || refusal.Reason != reason):
				t.Errorf("%s, %v: %v, want 401 %s", remote, test.headers, refusal, reason)
			case test.name == "" && !strings.Contains(refusal.Message, "patrol keys new NAME"):
				t.Errorf("the message doesn't say how to get a key: %s", refusal.Message)
			}
		}
	}
	// Wrong keys are logged, a few a minute, and lock nobody out.
	for range 10_000 {
		if _, refusal := check(g, afar, Upstream, http.Header{"X-Api-Key": {"wrong"}}); refusal == nil {
			t.Fatal("a wrong key lets in")
		}
	}
	if lines := strings.Count(buf.String(), "reason=remote"); lines != logBurst || !strings.Contains(buf.String(), "sent="+Unknown) || strings.Contains(buf.String(), key) {
		t.Errorf("%d lines of log, want %d:\n%s", lines, logBurst, buf.String())
	}
	if _, refusal := check(g, afar, Upstream, http.Header{"X-Api-Key": {key}}); refusal != nil {
		t.Errorf("after many wrong keys: %v", refusal)
	}
	// A key mends nothing else.
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Host = "evil.com"
	r.Header.Set("X-Api-Key", key)
	if _, refusal := g.Check(r, Upstream); refusal == nil || refusal.Reason != "host" {
		t.Errorf("a key let in a foreign Host: %v", refusal)
	}
}

// TestTokens: a token of ours counts where nobody knows a client's user, over loopback,
// and nowhere else.
func TestTokens(t *testing.T) {
	uses := map[string]TokenUse{"live-token": TokenLive, "replaced-token": TokenReplaced, "dead-token": TokenUseless}
	var buf bytes.Buffer
	g := newGuard(t, Config{NoOwners: true, Log: slog.New(slog.NewTextHandler(&buf, nil)), Token: func(hash string) TokenUse {
		for value, use := range uses {
			if pat.Hash(value) == hash {
				return use
			}
		}
		return TokenUseless
	}})
	for _, test := range []struct {
		remote, token string
		in            bool
	}{
		{loopback, "live-token", true},
		{loopback, "dead-token", false},
		{loopback, "x", false},
		{ownAddr, "live-token", false},
		{afar, "live-token", false},
		{afar, "replaced-token", false},
		{loopback, "replaced-token", true},
	} {
		if strings.Contains(buf.String(), "restart that agent") || !g.ReplacedTokenAt().IsZero() {
			t.Errorf("before a token that was replaced is shown: %v, %s", g.ReplacedTokenAt(), buf.String())
		}
		client, refusal := check(g, test.remote, Upstream, http.Header{"X-Api-Key": {test.token}})
		if (refusal == nil) != test.in || test.in && client.Name != Unknown {
			t.Errorf("%+v: %+v, %v", test, client, refusal)
		}
	}
	if !strings.Contains(buf.String(), "restart that agent") || time.Since(g.ReplacedTokenAt()) > time.Minute {
		t.Errorf("after: %v, %s", g.ReplacedTokenAt(), buf.String())
	}
	if strings.Contains(buf.String(), "-token\"") || strings.Contains(buf.String(), "replaced-token") {
		t.Errorf("a token is in the log: %s", buf.String())
	}
}

// TestRevokedKey is refused whoever shows it: here our own user does.
func TestRevokedKey(t *testing.T) {
	g := newGuard(t, Config{})
	addr := serve(t, g, "tcp4", "127.0.0.1:0")
	ask := func(key string) (int, string, string) {
		return requestOnce(t, addr, "GET /v1 HTTP/1.1\nHost: localhost\nX-Api-Key: "+key+"\n\n")
	}
	if status, reason, body := ask(revokedKey); status != 401 || reason != "revoked_key" || !strings.Contains(body, `"lost"`) || !strings.Contains(body, "patrol keys new") {
		t.Errorf("%d %s %s", status, reason, body)
	}
	if status, _, _ := ask("x"); status != 200 && ownersKnown {
		t.Errorf("what never was a key: %d", status)
	}
	// At once, on the connections that there are.
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	with := "GET /v1 HTTP/1.1\nHost: localhost\nX-Api-Key: " + key + "\n\n"
	if status, _, _, err := sendRequest(c, with); status != 200 {
		t.Fatal(status, err)
	}
	live, revoked := testKeys()
	g.SetKeys(nil, append(revoked, live...))
	if status, reason, _, err := sendRequest(c, with); status != 401 || reason != "revoked_key" {
		t.Error(status, reason, err)
	}
}

// TestOpenPages need no key, and who has none is told no more than they are for.
func TestOpenPages(t *testing.T) {
	g := newGuard(t, Config{NoOwners: true})
	for _, remote := range []string{loopback, afar} {
		for asked, in := range map[Asked]bool{Upstream: false, OwnPage: false, OpenPage: true, Probe: true} {
			client, refusal := check(g, remote, asked, nil)
			if (refusal == nil) != in || client.Stranger != in {
				t.Errorf("%s, %d without a key: %+v, %v", remote, asked, client, refusal)
			}
			if client, refusal = check(g, remote, asked, http.Header{"X-Api-Key": {key}}); refusal != nil || client.Stranger {
				t.Errorf("%s, %d with a key: %+v, %v", remote, asked, client, refusal)
			}
			if _, refusal = check(g, remote, asked, http.Header{"Origin": {"https://evil.example"}}); refusal == nil {
				t.Errorf("%s, %d: let in from a page", remote, asked)
			}
		}
	}
	if n := g.Counters()["owner_unknown"]; n != 2 {
		t.Errorf("%d refusals counted, want 2: those who need no key aren't any", n)
	}
}

// TestClients counts by key.
func TestClients(t *testing.T) {
	g := newGuard(t, Config{NoOwners: true, Token: func(string) TokenUse { return TokenLive }})
	for value, times := range map[string]int{key: 3, "a-token": 2} {
		for range times {
			_, _ = check(g, loopback, Upstream, http.Header{"X-Api-Key": {value}})
		}
	}
	_, _ = check(g, loopback, Upstream, nil) // refused: not counted
	live, _ := testKeys()
	g.SetKeys(append(live, ClientKey{"new", sha256.Sum256([]byte("new"))}), nil)
	all := g.Clients()
	if i := slices.IndexFunc(all, func(c ClientUse) bool { return c.Name == "laptop" }); i != 0 || all[0].Requests != 3 || time.Since(all[0].LastUsed) > time.Minute {
		t.Errorf("%+v", all)
	}
	want := []string{"laptop", "new", Unknown, None}
	for i, c := range all {
		if c.Name != want[i] || c.Name == Unknown && c.Requests != 2 || c.Name == None && c.Requests != 0 {
			t.Errorf("%+v, want %v", all, want)
		}
	}
}
