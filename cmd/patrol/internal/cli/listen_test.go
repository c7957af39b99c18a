package cli

import (
	"net/netip"
	"net/url"
	"testing"
)

func TestOwnListener(t *testing.T) {
	addrs := []ListenAddr{
		{AddrPort: netip.MustParseAddrPort("127.0.0.1:4000")},
		{AddrPort: netip.MustParseAddrPort("127.0.0.1:80")},
		{AddrPort: netip.MustParseAddrPort("0.0.0.0:5000")},
		{AddrPort: netip.MustParseAddrPort("192.0.2.7:6000")},
	}
	for raw, want := range map[string]bool{
		"http://127.0.0.1:4000":        true,
		"http://localhost:4000/v1":     true,
		"https://LOCALHOST:4000":       true,
		"http://[::ffff:127.0.0.1]:80": true,
		"http://127.0.0.1":             true,
		"http://127.0.0.1:4001":        false,
		"http://[::1]:4000":            false,
		"https://127.0.0.1":            false,
		"https://w.example:4000":       false,
		"http://127.0.0.1:5000":        true,
		"http://[::1]:5000":            true,
		"http://localhost:5000":        true,
		"http://192.0.2.7:5000":        false,
		"http://192.0.2.7:6000":        true,
	} {
		u, err := url.Parse(raw)
		if err != nil {
			t.Fatal(err)
		}
		if got := IsOwnListener(u, addrs); got != want {
			t.Errorf("%s: %v, want %v", raw, got, want)
		}
	}
}

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
