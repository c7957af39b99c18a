package credwriter

import (
	"testing"

	"patrol/rotator/pat"
)

func TestPlaceOfWorkspace(t *testing.T) {
	const azure = "https://adb-123.4.azuredatabricks.net"
	for _, c := range []struct {
		host string
		base string
		want bool
	}{
		{host, host, true},
		{host, "HTTPS://DBC-1.Cloud.Databricks.com:443/any/path?x=1", true},
		{host, host + "./", true},
		{host, host + ":8443", false},
		{host, "http://dbc-1.cloud.databricks.com", false},
		{host, "http://dbc-1.cloud.databricks.com:443", false},
		{host, "dbc-1.cloud.databricks.com", false},
		{host, host + ".evil.com", false},
		{host, host + "@evil.com", false},
		{host, "https://user@dbc-1.cloud.databricks.com", false},
		{host, "https://evil.com/" + host, false},
		{host, "https://evil.com#" + host, false},
		{host, "", false},
		{host, "https://", false},
		{host, "%zz://", false},
		{"", "", false},
		{"", "https://evil.com", false},
		{host + "/?o=1", host + "/?o=2", false},
		{host + "/?o=1", host, true},

		// The gateway.
		{azure, "https://123.0.ai-gateway.azuredatabricks.net/anthropic", true},
		{azure, "https://123.ai-gateway.azuredatabricks.net/anthropic", true},
		{azure, "https://124.0.ai-gateway.azuredatabricks.net/anthropic", false},
		{azure, "https://123.evil.ai-gateway.azuredatabricks.net", false},
		{azure, "http://123.0.ai-gateway.azuredatabricks.net:443", false},
		{azure, "https://123.0.ai-gateway.azuredatabricks.net.evil.com", false},
		{azure, "https://123.ai-gateway.cloud.databricks.com", false},
		{host, "https://123.ai-gateway.cloud.databricks.com/anthropic", false},
		{host + "?o=123", "https://123.ai-gateway.cloud.databricks.com/anthropic", true},
		{host + "?o=123", "https://123.ai-gateway.cloud.databricks.com/anthropic", true},
		{host + "?o=123", "https://0123.ai-gateway.cloud.databricks.com", false},
		{host + "?o=123", "https://123.0.ai-gateway.cloud.databricks.com", false},
	} {
		o := Owner{Host: pat.New("", c.host).Host}
		if p, _ := o.placeOf(c.base); (p == atWorkspace) != c.want {
			t.Errorf("at %s, %q is %v", c.host, c.base, p)
		}
	}
}

func TestPlaceOfProxy(t *testing.T) {
	const localhost, other = "127.0.0.1:4000", "127.0.0.1:4001"
	for _, c := range []struct {
		listen string
		base   string
		want   place
	}{
		{localhost, "http://localhost:4000/anthropic", atProxy},
		{localhost, " HTTP://LOCALHOST.:4000 ", atProxy},
		{localhost, "http://agents.localhost:4000", atProxy},
		{localhost, "http://127.0.0.1:4000?x#y", atProxy},
		{localhost, "http://[::1]:4000", atProxy}, // which it has, too
		{localhost, "http://[::ffff:127.0.0.1]:4000", atProxy},
		{localhost, "http://0.0.0.0:4000", atProxy},
		{localhost, "http://user:password@127.0.0.1:4000", atProxy},
		{localhost, "https://127.0.0.1:4000", atProxy},
		{"[::1]:4000", "http://127.0.0.1:4000", atProxy},
		{"127.0.0.1:80", "http://localhost", atProxy},
		{"127.0.0.1:443", "https://localhost/", atProxy},
		{localhost, "http://127.0.0.1", elsewhere},
		{localhost, "http://127.0.0.2:4000", unknownPlace},
		{localhost, "http://127.0.0.1.evil.com:4000", elsewhere},
		{localhost, "http://localhost.evil.com:4000", elsewhere},
		{localhost, "http://evil.com:4000/http://127.0.0.1:4000", elsewhere},
		{localhost, "http://127.0.0.1:4000@evil.com", unknownPlace},
		{localhost, "https://evil.com", elsewhere},
		{localhost, "HTTPS://LLM.example.:8443/a@b?c#d", elsewhere},
		{localhost, "http://10.0.0.1:4000", elsewhere},
		{localhost, "https://[2001:db8::1]", elsewhere},
		{localhost, "", elsewhere},
		{"127.0.0.2:4000", "http://127.0.0.2:4000", atProxy},
		{"127.0.0.2:4000", "http://127.0.0.1:4000", unknownPlace},
		{"10.0.0.1:4000", "http://10.0.0.1:4000/x", atProxy},
		{"10.0.0.1:4000", "http://127.0.0.1:4000", unknownPlace},
		{"0.0.0.0:4000", "http://127.0.0.7:4000", atProxy},
		{"[::]:4000", "http://localhost:4000", atProxy},
		{"0.0.0.0:4000", "http://10.0.0.1:4000", elsewhere}, // it isn't known to be this machine's
		{localhost, "http://localhost:4001", atOtherProxy},
		{other, "http://localhost:4001", atProxy},
	} {
		o := Owner{Host: newToken.Host, Proxies: addrs(c.listen), Others: []OtherProxy{{addrs(other)[0], "work"}}}
		if got, profile := o.placeOf(c.base); got != c.want || (profile == "work") != (got == atOtherProxy) {
			t.Errorf("a proxy on %s: %q is %v %q, want %v", c.listen, c.base, got, profile, c.want)
		}
	}
	if p, _ := (Owner{}).placeOf("http://127.0.0.1:4000"); p != elsewhere {
		t.Errorf("without a proxy: %v", p)
	}
}

// oddBases are base URLs that lead to our proxy, or may, for some programs that read
// URLs and not for others.
var oddBases = []string{
	"http://127.1:4000", "http://0x7f.1:4000", "http://0X7F.0.0.1:4000", "http://2130706433:4000", "http://0:4000", "http://127.0.0.01:4000", "http://127.0.1:4000",
	"http://0177.0.0.1:4000", "http://127.0.0.1:04000", "http://127.0.0.1:+4000", "http://127.0.0.1:69536", "http://127.0.0.0x1:4000", "http://0x:4000",
	"http:127.0.0.1:4000", "http:/localhost:4000", "http:///localhost:4000", "//evil.com", `http:\\localhost:4000`, `http:\/localhost:4000`, `http://evil.com\@localhost:4000`,
	"http://local\thost:4000", "http://local\nhost:4000", "ht\ttp://localhost:4000", "http://%31%32%37.0.0.1:4000", "http://localhos%74:4000",
	"http://①②⑦.0.0.1:4000", "http://ｌocalhost:4000", "http://127。0。0。1:4000", "http://loc\u00adalhost:4000", "\u00a0http://localhost:4000", "\u0001http://localhost:4000",
	"http://[::1%25lo]:4000", "http://localhost..evil:4000", "http://evil.com:", "http://x@evil.com", "ftp://evil.com", "localhost:4000", "127.0.0.1:4000", "localhost", "%zz://",
}

// otherLocalBases lead to this machine, or may, and to our proxy's port.
var otherLocalBases = []string{
	"http://ip6-localhost:4000", "http://my-machine:4000", "http://localhost.localdomain:4000", "http://127.0.0.2:4000",
}

// TestNoTokenBesideOddURLs: beside a base URL that may lead to our proxy's port and isn't
// known to, everything stays as it is, and that is said.
func TestNoTokenBesideOddURLs(t *testing.T) {
	for _, group := range []struct {
		bases []string
		place place
		says  string
	}{
		{oddBases, unknownPlace, "is no URL that surely leads past patrol's port"},
		{otherLocalBases, unknownPlace, "is no URL that surely leads past patrol's port"},
	} {
		for _, base := range group.bases {
			if p, _ := owner().placeOf(base); p != group.place {
				t.Errorf("%q is %v, want %v", base, p, group.place)
			}
			says := group.says + ": if patrol's proxy is meant, make it http://127.0.0.1:4000"
			var settings, entries []row
			for _, value := range []string{"OLD", "NEW", "CLIENT", "sk"} {
				settings = append(settings, row{name: base + " " + value, in: `{"env":{"ANTHROPIC_BASE_URL":` + quote(base) + `,"ANTHROPIC_AUTH_TOKEN":"` + value + `"}}`, left: says})
				entries = append(entries, row{name: base + " " + value, in: `{"databricks":{"type":"api","key":"` + value + `"}}`, left: says})
			}
			entries = append(entries, row{name: base + " old form", in: `{"databricks":{"api_key":"OLD"}}`, left: says})
			config := configOf(t, `{"provider":{"databricks":{"options":{"baseURL":`+quote(base)+`}}}}`)
			for _, create := range []bool{false, true} {
				sets(t, claude{owner(), create}, settings)
				sets(t, openCode{owner(), create, config}, entries)
			}
			sets(t, claude{owner(), true}, []row{{name: base, in: `{"env":{"ANTHROPIC_BASE_URL":` + quote(base) + `}}`, left: says}})
			sets(t, openCode{owner(), true, config}, []row{{name: base, in: "{}", left: says}})
		}
	}
}
