package cli

import (
	"net/netip"
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
