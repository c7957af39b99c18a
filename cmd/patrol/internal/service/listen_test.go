package service

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"

	"patrol/cmd/patrol/internal/cli"
)

// listen is Listen where no other service runs.
func listen(t *testing.T, addrs ...cli.ListenAddr) ([]net.Listener, error) {
	t.Helper()
	return Listen(t.Context(), cli.Options{Listen: addrs}, t.TempDir())
}

func TestListen(t *testing.T) {
	any4 := cli.ListenAddr{AddrPort: netip.MustParseAddrPort("127.0.0.1:0")}
	lns, err := listen(t, any4, any4)
	if err != nil || len(lns) != 2 {
		t.Fatalf("%v, %v", lns, err)
	}
	defer CloseAll(lns)

	taken := lns[0].Addr().(*net.TCPAddr).AddrPort()
	_, err = listen(t, any4, cli.ListenAddr{AddrPort: taken, Optional: true})
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
	lns, err := listen(t, any4, cli.ListenAddr{AddrPort: missing, Optional: true})
	if err != nil || len(lns) != 1 {
		t.Errorf("optional: %v, %v", lns, err)
	}
	CloseAll(lns)
	_, err = listen(t, any4, cli.ListenAddr{AddrPort: missing})
	if hint := cli.HintOf(err); !strings.Contains(fmt.Sprint(err), "192.0.2.1:0: this machine has no such address") || !strings.Contains(hint, "127.0.0.1") {
		t.Errorf("%v, hint %q", err, hint)
	}
}
