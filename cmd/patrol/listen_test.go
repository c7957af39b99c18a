package main

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"testing"
)

func TestListenAll(t *testing.T) {
	any4 := listenAddr{addr: netip.MustParseAddrPort("127.0.0.1:0")}
	lns, err := listenAll(t.Context(), []listenAddr{any4, any4})
	if err != nil || len(lns) != 2 {
		t.Fatalf("%v, %v", lns, err)
	}
	defer closeAll(lns)

	taken := lns[0].Addr().(*net.TCPAddr).AddrPort()
	_, err = listenAll(t.Context(), []listenAddr{any4, {addr: taken, optional: true}})
	if err == nil {
		t.Fatal("a port in use is no error")
	}
	if !strings.Contains(err.Error(), taken.String()) {
		t.Errorf("%v doesn't name %s", err, taken)
	}
	if _, hint := hintOf(err); !strings.Contains(hint, "--listen") || !strings.Contains(hint, fmt.Sprintf(":%d", taken.Port())) {
		t.Errorf("hint %q", hint)
	}
}

// An address that this machine doesn't have: an error if it was asked for.
func TestListenAllMissing(t *testing.T) {
	any4 := listenAddr{addr: netip.MustParseAddrPort("127.0.0.1:0")}
	missing := netip.MustParseAddrPort("192.0.2.1:0")
	lns, err := listenAll(t.Context(), []listenAddr{any4, {addr: missing, optional: true}})
	if err != nil || len(lns) != 1 {
		t.Errorf("optional: %v, %v", lns, err)
	}
	closeAll(lns)
	for _, addrs := range [][]listenAddr{{any4, {addr: missing}}, {{addr: missing, optional: true}}} {
		if lns, err := listenAll(t.Context(), addrs); err == nil {
			t.Errorf("%v: no error", addrs)
			closeAll(lns)
		}
	}
	_, err = listenAll(t.Context(), []listenAddr{{addr: missing}})
	if _, hint := hintOf(err); !strings.Contains(fmt.Sprint(err), "192.0.2.1:0: this machine has no such address") || !strings.Contains(hint, "127.0.0.1") {
		t.Errorf("%v, hint %q", err, hint)
	}
}

func TestOwnListener(t *testing.T) {
	addrs := []listenAddr{
		{addr: netip.MustParseAddrPort("127.0.0.1:4000")},
		{addr: netip.MustParseAddrPort("127.0.0.1:80")},
		{addr: netip.MustParseAddrPort("0.0.0.0:5000")},
		{addr: netip.MustParseAddrPort("192.0.2.7:6000")},
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
		if got := ownListener(u, addrs); got != want {
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
		if got := proxyURL(netip.MustParseAddrPort(addr)); got != want {
			t.Errorf("%s: %s, want %s", addr, got, want)
		}
	}
}
