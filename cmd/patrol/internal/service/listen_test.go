package service

import (
	"bytes"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"testing"

	"patrol/cmd/patrol/internal/cli"
)

// listen is Listen where no other service runs.
func listen(t *testing.T, addrs ...cli.ListenAddr) ([]net.Listener, error) {
	t.Helper()
	return Listen(t.Context(), cli.Options{Listen: addrs}, t.TempDir(), slog.New(slog.NewTextHandler(t.Output(), nil)))
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

// Addresses that go together get one port.
func TestListenTogether(t *testing.T) {
	loopbacks := []cli.ListenAddr{
		{AddrPort: netip.MustParseAddrPort("127.0.0.1:0")},
		{AddrPort: netip.MustParseAddrPort("[::1]:0"), Optional: true},
	}
	for range 20 {
		lns, err := listen(t, append(loopbacks, loopbacks...)...)
		if err != nil || len(lns) != 4 {
			t.Skipf("no IPv6 here: %v, %v", lns, err)
		}
		CloseAll(lns)
		for i := range 2 {
			a, b := addrOf(lns[2*i]), addrOf(lns[2*i+1])
			if a.Port() != b.Port() || a.Addr() == b.Addr() {
				t.Errorf("a pair is %s and %s", a, b)
			}
		}
	}
}

// One of the two loopback addresses is somebody else's: programs that ask for localhost
// would get there, so it is an error, and no listener is left open.
func TestListenOtherLoopbackTaken(t *testing.T) {
	for _, taken := range []string{"[::1]:0", "127.0.0.1:0"} {
		ln, err := net.Listen("tcp", taken)
		if err != nil {
			t.Skip(err)
		}
		defer ln.Close()
		port := addrOf(ln).Port()
		four, six := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port), netip.AddrPortFrom(netip.IPv6Loopback(), port)
		for _, pair := range [][]cli.ListenAddr{
			{{AddrPort: four}, {AddrPort: six, Optional: true}},
			{{AddrPort: six}, {AddrPort: four, Optional: true}},
		} {
			lns, err := listen(t, pair...)
			hint := cli.HintOf(err)
			if err == nil || !strings.Contains(err.Error(), addrOf(ln).String()) || !strings.Contains(hint, whoListens(runtime.GOOS, port)) {
				t.Errorf("%v: %v, %v (%s)", pair, lns, err, hint)
			}
			CloseAll(lns)
		}
	}
}

// All addresses of IPv4 are no address of IPv6 but the loopback one.
func TestListenEverywhere(t *testing.T) {
	lns, err := listen(t,
		cli.ListenAddr{AddrPort: netip.MustParseAddrPort("0.0.0.0:0")},
		cli.ListenAddr{AddrPort: netip.MustParseAddrPort("[::1]:0"), Optional: true})
	if err != nil {
		t.Fatal(err)
	}
	defer CloseAll(lns)
	if at := addrOf(lns[0]); at.Addr() != netip.IPv4Unspecified() || len(lns) > 1 && addrOf(lns[1]) != netip.AddrPortFrom(netip.IPv6Loopback(), at.Port()) {
		t.Errorf("it listens on %v", lns)
	}
}

func TestWhoListens(t *testing.T) {
	for system, want := range map[string]string{"linux": "ss -ltnp 'sport = :4000'", "darwin": "lsof -nP -iTCP:4000 -sTCP:LISTEN"} {
		if got := whoListens(system, 4000); got != want {
			t.Errorf("on %s: %s", system, got)
		}
	}
}

// That an address is missing is said once.
func TestListenSaysWhatIsMissing(t *testing.T) {
	var log bytes.Buffer
	any4 := cli.ListenAddr{AddrPort: netip.MustParseAddrPort("127.0.0.1:0")}
	missing := cli.ListenAddr{AddrPort: netip.MustParseAddrPort("192.0.2.1:0"), Optional: true}
	lns, err := Listen(t.Context(), cli.Options{Listen: []cli.ListenAddr{any4, missing, any4, missing}}, t.TempDir(), slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil || len(lns) != 2 || strings.Count(log.String(), "no such address") != 1 {
		t.Errorf("%v, %v:\n%s", lns, err, log.String())
	}
	CloseAll(lns)
}
