package cli

import (
	"net/netip"
	"strings"
	"testing"
)

// Programs on this machine are pointed at an address that they can ask for.
func TestProxyURL(t *testing.T) {
	for addr, want := range map[string]string{
		"127.0.0.1:4000": "http://127.0.0.1:4000",
		"[::1]:4000":     "http://[::1]:4000",
		"0.0.0.0:4000":   "http://127.0.0.1:4000",
		"[::]:4000":      "http://127.0.0.1:4000",
		"192.0.2.7:4000": "http://192.0.2.7:4000",
	} {
		if got := ProxyURL(netip.MustParseAddrPort(addr)); got != want {
			t.Errorf("%s: %s, want %s", addr, got, want)
		}
	}
}

func TestParseListen(t *testing.T) {
	for _, c := range []struct{ given, want string }{
		{"localhost:4000", "127.0.0.1:4000 ([::1]:4000)"},
		{"LOCALHOST:0", "127.0.0.1:0 ([::1]:0)"},
		{"127.0.0.1:4001", "127.0.0.1:4001 ([::1]:4001)"},
		{"[::1]:4001", "[::1]:4001 (127.0.0.1:4001)"},
		{"[::ffff:127.0.0.1]:1", "127.0.0.1:1 ([::1]:1)"},
		{"0.0.0.0:1", "0.0.0.0:1 ([::1]:1)"},
		{"[::]:1", "[::]:1"},
		{"127.0.0.2:1", "127.0.0.2:1"},
		{"192.0.2.1:1,[2001:db8::1]:1", "192.0.2.1:1 [2001:db8::1]:1"},
		{"127.0.0.1:1,127.0.0.1:1", "127.0.0.1:1 ([::1]:1)"},
		{"127.0.0.1:1,[::1]:1", "127.0.0.1:1 [::1]:1"},
		{"localhost:1,localhost:2", "127.0.0.1:1 ([::1]:1) 127.0.0.1:2 ([::1]:2)"},
		{"127.0.0.1:0,127.0.0.1:0", "127.0.0.1:0 ([::1]:0) 127.0.0.1:0 ([::1]:0)"},
		{"localhost:1,0.0.0.0:1", "0.0.0.0:1 ([::1]:1)"},
		{"0.0.0.0:1,127.0.0.2:1,127.0.0.2:2", "0.0.0.0:1 ([::1]:1) 127.0.0.2:2"},
		{"[::]:1,0.0.0.0:1,localhost:1", "[::]:1"},
	} {
		var o Options
		all, err := o.parseListen(Setting{Flag: "listen", Values: strings.Split(c.given, ",")})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, a := range all {
			text := a.String()
			if a.Optional {
				text = "(" + text + ")"
			}
			got = append(got, text)
		}
		if got := strings.Join(got, " "); got != c.want {
			t.Errorf("%s: %s, want %s", c.given, got, c.want)
		}
	}
}
