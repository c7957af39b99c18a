package service

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"

	"patrol/cmd/patrol/internal/cli"
)

func TestListen(t *testing.T) {
	any4 := cli.ListenAddr{AddrPort: netip.MustParseAddrPort("127.0.0.1:0")}
	lns, err := Listen(t.Context(), []cli.ListenAddr{any4, any4})
	if err != nil || len(lns) != 2 {
		t.Fatalf("%v, %v", lns, err)
	}
	defer CloseAll(lns)

	taken := lns[0].Addr().(*net.TCPAddr).AddrPort()
	_, err = Listen(t.Context(), []cli.ListenAddr{any4, {AddrPort: taken, Optional: true}})
	if err == nil {
		t.Fatal("a port in use is no error")
	}
	if !strings.Contains(err.Error(), taken.String()) {
		t.Errorf("%v doesn't name %s", err, taken)
	}
	if hint := cli.HintOf(err); !strings.Contains(hint, "--listen") || !strings.Contains(hint, fmt.Sprintf(":%d", taken.Port())) {
		t.Errorf("hint %q", hint)
	}
}

// An address that this machine doesn't have: an error if it was asked for.
func TestListenMissing(t *testing.T) {
	any4 := cli.ListenAddr{AddrPort: netip.MustParseAddrPort("127.0.0.1:0")}
	missing := netip.MustParseAddrPort("192.0.2.1:0")
	lns, err := Listen(t.Context(), []cli.ListenAddr{any4, {AddrPort: missing, Optional: true}})
	if err != nil || len(lns) != 1 {
		t.Errorf("optional: %v, %v", lns, err)
	}
	CloseAll(lns)
	_, err = Listen(t.Context(), []cli.ListenAddr{any4, {AddrPort: missing}})
	if hint := cli.HintOf(err); !strings.Contains(fmt.Sprint(err), "192.0.2.1:0: this machine has no such address") || !strings.Contains(hint, "127.0.0.1") {
		t.Errorf("%v, hint %q", err, hint)
	}
}
