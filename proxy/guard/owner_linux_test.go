package guard

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestUsers tries every user on the servers of two.
func TestUsers(t *testing.T) {
	needOthers(t)
	rootAddr := serve(t, newGuard(t, Config{}), "tcp4", "127.0.0.1:0")
	aliceAddr := startServer(t, commandAs(t, alice, "server", serverArgs{}))
	sharedAddr := startServer(t, commandAs(t, alice, "server", serverArgs{AllowUsers: []string{strconv.Itoa(bob), "daemon"}}))
	withRoot := startServer(t, commandAs(t, alice, "server", serverArgs{AllowUsers: []string{"root"}}))
	daemon, err := uidOf("daemon")
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, addr string
		in         []uint32
	}{
		{"root's", rootAddr, []uint32{0}},
		{"alice's", aliceAddr, []uint32{alice}},
		{"alice's with others", sharedAddr, []uint32{alice, bob, daemon}},
		{"alice's with root", withRoot, []uint32{0, alice}},
	} {
		for _, uid := range []uint32{0, alice, bob, mallory, daemon, 65534} {
			in := false
			for _, u := range test.in {
				in = in || u == uid
			}
			answer := clientAs(t, uid, clientArgs{Addr: test.addr, Request: get})
			switch {
			case in && answer.Status != 200:
				t.Errorf("%s server, uid %d: %+v, want 200", test.name, uid, answer)
			case !in && (answer.Status != 403 || answer.Reason != "foreign_user"):
				t.Errorf("%s server, uid %d: %+v, want 403 foreign_user", test.name, uid, answer)
			case !in && uid == 0 && !strings.Contains(answer.Body, "--allow-user root,"),
				!in && uid != 0 && !strings.Contains(answer.Body, fmt.Sprintf("--allow-user %d,", uid)):
				t.Errorf("%s server, uid %d isn't told how to be let in: %s", test.name, uid, answer.Body)
			}
		}
		// What is known to be another's isn't let in for a credential.
		if answer := clientAs(t, mallory, clientArgs{Addr: test.addr, Request: getWithKey}); answer.Status != 403 {
			t.Errorf("%s server, another user with a key: %+v", test.name, answer)
		}
	}
}

func TestAllowUsersErrors(t *testing.T) {
	for _, name := range []string{"", "no-such-user-here", "-1", "4294967295", "4294967296", "1000 ", "root,daemon", "0x0"} {
		if _, err := New(Config{AllowUsers: []string{name}}); err == nil || !strings.Contains(err.Error(), strconv.Quote(name)) {
			t.Errorf("AllowUsers %q: %v, want an error that names it", name, err)
		}
	}
}

// TestUsersByProc lets /proc alone tell the users apart.
func TestUsersByProc(t *testing.T) {
	g := onlyTables(newGuard(t, Config{AllowUsers: []string{strconv.Itoa(bob)}}), newProcNet())
	for network, address := range map[string]string{"tcp4": "127.0.0.1:0", "tcp6": "[::1]:0"} {
		t.Run(network, func(t *testing.T) {
			addr := serve(t, g, network, address)
			for uid, want := range map[uint32]int{0: 200, bob: 200, mallory: 403} {
				if answer := clientAs(t, uid, clientArgs{Addr: addr, Request: get}); answer.Status != want {
					t.Errorf("uid %d: %+v, want %d", uid, answer, want)
				}
			}
		})
	}
}

// socketKinds are the ways in which our own clients reach a listener.
var socketKinds = []struct {
	name, listenNet, listenAddr string
	connect                     func(t *testing.T, addr net.Addr) net.Conn
}{
	{"IPv4", "tcp4", "127.0.0.1:0", connect(nil)},
	{"IPv4, dual-stack listener", "tcp", "[::]:0", connect(toLoopback4)},
	{"IPv4, other loopback address", "tcp", "[::]:0", connect(func(ap netip.AddrPort) (string, string) {
		return "tcp4", netip.AddrPortFrom(netip.MustParseAddr("127.9.8.7"), ap.Port()).String()
	})},
	{"IPv6", "tcp6", "[::1]:0", connect(nil)},
	{"IPv6, dual-stack listener", "tcp", "[::]:0", connect(func(ap netip.AddrPort) (string, string) {
		return "tcp6", netip.AddrPortFrom(netip.IPv6Loopback(), ap.Port()).String()
	})},
	{"mapped, IPv4 listener", "tcp4", "127.0.0.1:0", connectMapped},
	{"mapped, dual-stack listener", "tcp", "[::]:0", connectMapped},
	{"bound to lo", "tcp4", "127.0.0.1:0", func(t *testing.T, addr net.Addr) net.Conn {
		return dialControl(t, addr, func(fd int) error { return unix.BindToDevice(fd, "lo") })
	}},
	{"half closed", "tcp4", "127.0.0.1:0", func(t *testing.T, addr net.Addr) net.Conn {
		c := connect(nil)(t, addr)
		if err := c.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		return c
	}},
	{"multipath", "tcp4", "127.0.0.1:0", func(t *testing.T, addr net.Addr) net.Conn {
		var d net.Dialer
		d.SetMultipathTCP(true)
		c, err := d.Dial("tcp", addr.String())
		if err != nil {
			t.Fatal(err)
		}
		return c
	}},
}

func toLoopback4(ap netip.AddrPort) (network, addr string) {
	return "tcp4", netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), ap.Port()).String()
}

func connect(to func(netip.AddrPort) (network, addr string)) func(*testing.T, net.Addr) net.Conn {
	return func(t *testing.T, a net.Addr) net.Conn {
		t.Helper()
		network, addr := "tcp", a.String()
		if to != nil {
			network, addr = to(a.(*net.TCPAddr).AddrPort())
		}
		c, err := net.Dial(network, addr)
		switch {
		case err != nil && network == "tcp6":
			t.Skip("no IPv6 here: ", err)
		case err != nil:
			t.Fatal(err)
		}
		return c
	}
}

func dialControl(t *testing.T, addr net.Addr, control func(fd int) error) net.Conn {
	t.Helper()
	d := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) (err error) {
		errControl := raw.Control(func(fd uintptr) { err = control(int(fd)) })
		if errControl != nil {
			return errControl
		}
		return err
	}}
	c, err := d.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// connectMapped reaches an IPv4 address from an IPv6 socket, which package
// net never does.
func connectMapped(t *testing.T, addr net.Addr) net.Conn {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Skip(err)
	}
	to := &unix.SockaddrInet6{Port: addr.(*net.TCPAddr).Port, Addr: netip.MustParseAddr("::ffff:127.0.0.1").As16()}
	if err := unix.Connect(fd, to); err != nil {
		t.Fatal(err)
	}
	file := os.NewFile(uintptr(fd), "mapped")
	defer func() { _ = file.Close() }()
	c, err := net.FileConn(file)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// forEachKind calls f with both ends of a connection of each kind.
func forEachKind(t *testing.T, f func(t *testing.T, client, server net.Conn)) {
	for _, kind := range socketKinds {
		t.Run(kind.name, func(t *testing.T) {
			l, err := net.Listen(kind.listenNet, kind.listenAddr)
			if err != nil {
				t.Skip(err)
			}
			defer func() { _ = l.Close() }()
			client := kind.connect(t, l.Addr())
			defer func() { _ = client.Close() }()
			server, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = server.Close() }()
			f(t, client, server)
		})
	}
}

// onlyTables makes g ask these alone.
func onlyTables(g *Guard, tables ...socketTable) *Guard {
	g.owners.tables = tables
	return g
}

func TestSocketKinds(t *testing.T) {
	netlink := newGuard(t, Config{})
	onlyTables(netlink, netlink.owners.sockDiag)
	proc := onlyTables(newGuard(t, Config{}), newProcNet())
	forEachKind(t, func(t *testing.T, _, server net.Conn) {
		for name, g := range map[string]*Guard{"netlink": netlink, "/proc": proc} {
			if s, uid := g.lookUpPeer(server); s != peerAllowed || int(uid) != os.Geteuid() {
				t.Errorf("by %s: class %d, uid %d", name, s, uid)
			}
		}
	})
}

// TestTablesAgree holds what /proc says against what netlink says, for both
// ends of each kind of connection.
func TestTablesAgree(t *testing.T) {
	d := &sockDiag{fd: -1}
	defer func() { _ = d.close() }()
	p := newProcNet()
	forEachKind(t, func(t *testing.T, client, server net.Conn) {
		local, _ := addrPort(server.LocalAddr())
		remote, _ := addrPort(server.RemoteAddr())
		own := tuple{local, remote}
		for end, c := range map[tuple]net.Conn{own: server, own.reversed(): client} {
			raw, _ := rawConn(c)
			inode, err := inodeOf(raw)
			if err != nil {
				t.Fatal(err)
			}
			byDiag, err1 := d.find(end)
			byProc, err2 := p.find(end)
			byDiag.state, byProc.state = afterFinWait1(byDiag.state), afterFinWait1(byProc.state)
			if err1 != nil || err2 != nil || byDiag != byProc {
				t.Errorf("%v: netlink %+v (%v), /proc %+v (%v)", end, byDiag, err1, byProc, err2)
			}
			if byDiag.inode != inode || inode == 0 || int(byDiag.uid) != os.Geteuid() {
				t.Errorf("%v: %+v, want inode %d and our uid", end, byDiag, inode)
			}
		}
		nobody := tuple{local: netip.AddrPortFrom(remote.Addr(), 1), remote: local}
		if r, err := d.find(nobody); !errors.Is(err, errNoSocket) {
			t.Errorf("netlink finds %+v (%v) where nothing is", r, err)
		}
		if r, err := p.find(nobody); !errors.Is(err, errNoSocket) {
			t.Errorf("/proc shows %+v (%v) where nothing is", r, err)
		}
	})
}

// afterFinWait1 is the state that a half-closed socket is about to reach.
func afterFinWait1(state uint8) uint8 {
	if state == tcpFinWait1 {
		return tcpFinWait2
	}
	return state
}

// emptyTable is a table that shows nothing, as netlink does where the kernel's
// module for it is missing.
type emptyTable struct{}

func (emptyTable) find(tuple) (socketInfo, error) { return socketInfo{}, errNoSocket }

// TestFallback takes netlink away in the ways in which it can be missing.
func TestFallback(t *testing.T) {
	closed := newGuard(t, Config{})
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	noModule := onlyTables(newGuard(t, Config{}), emptyTable{}, newProcNet())
	nothing := onlyTables(newGuard(t, Config{}), emptyTable{}, emptyTable{})
	for name, g := range map[string]*Guard{"closed": closed, "no module": noModule} {
		if status, reason, body := requestOnce(t, serve(t, g, "tcp4", "127.0.0.1:0"), get); status != 200 {
			t.Errorf("%s: %d %s %s", name, status, reason, body)
		}
	}
	addr := serve(t, nothing, "tcp4", "127.0.0.1:0")
	if status, reason, body := requestOnce(t, addr, get); status != 401 || reason != "owner_unknown" {
		t.Errorf("nothing: %d %s %s", status, reason, body)
	}
	if status, reason, body := requestOnce(t, addr, getWithKey); status != 200 {
		t.Errorf("nothing, with a key: %d %s %s", status, reason, body)
	}
}

// TestLocalAddress connects by an address of this machine that isn't loopback, from it
// and from loopback: the owner decides.
func TestLocalAddress(t *testing.T) {
	ip := networkAddr(t)
	g := newGuard(t, Config{})
	l, err := net.Listen("tcp", net.JoinHostPort(ip, "0"))
	if err != nil {
		t.Fatal(err)
	}
	serveOn(t, g, l)
	_, port, _ := net.SplitHostPort(l.Addr().String())
	all := serve(t, g, "tcp", ":0")
	_, allPort, _ := net.SplitHostPort(all)
	for _, from := range []struct{ source, addr string }{
		{"", ip + ":" + port},
		{ip + ":0", ip + ":" + port},
		{"127.0.0.1:0", ip + ":" + port},
		{ip + ":0", "127.0.0.1:" + allPort},
		{"", ip + ":" + allPort},
	} {
		for _, uid := range []uint32{uint32(os.Geteuid()), mallory} {
			answer := clientAs(t, uid, clientArgs{Addr: from.addr, Source: from.source, Request: get})
			if in := uid != mallory; in && answer.Status != 200 || !in && (answer.Status != 403 || answer.Reason != "foreign_user") {
				t.Errorf("uid %d from %s to %s: %+v", uid, from.source, from.addr, answer)
			}
		}
	}
}

// networkAddr returns an address of this machine in a network.
func networkAddr(t *testing.T) string {
	t.Helper()
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		if ip, ok := a.(*net.IPNet); ok && ip.IP.To4() != nil && !ip.IP.IsLoopback() {
			return ip.IP.String()
		}
	}
	t.Skip("this machine has no address but loopback")
	return ""
}

// TestAskedOnce sends many requests at once on many kept-alive connections.
func TestAskedOnce(t *testing.T) {
	g := newGuard(t, Config{})
	counting := &countingTable{socketTable: g.owners.sockDiag}
	onlyTables(g, counting)
	addr := serve(t, g, "tcp4", "127.0.0.1:0")
	const conns, requests = 40, 50
	var all sync.WaitGroup
	for range conns {
		all.Go(func() {
			c, err := net.Dial("tcp", addr)
			if err != nil {
				t.Error(err)
				return
			}
			defer func() { _ = c.Close() }()
			for range requests {
				if status, reason, _, err := sendRequest(c, get); status != 200 {
					t.Errorf("%d %s %v", status, reason, err)
					return
				}
			}
		})
	}
	all.Wait()
	if counting.n != 2*conns {
		t.Errorf("%d look-ups for %d connections, want two each", counting.n, conns)
	}
}

type countingTable struct {
	socketTable
	mu sync.Mutex
	n  int
}

func (c *countingTable) find(t tuple) (socketInfo, error) {
	c.mu.Lock()
	c.n++
	c.mu.Unlock()
	return c.socketTable.find(t)
}

func TestKeyFileOwner(t *testing.T) {
	needOthers(t) // who can't become another user can't give a file away
	path := t.TempDir() + "/keys"
	writeKeys(t, path, keyA)
	if err := os.Chown(path, mallory, mallory); err != nil {
		t.Fatal(err)
	}
	if _, err := New(Config{KeyFile: path}); err == nil || !strings.Contains(err.Error(), "belongs to uid") {
		t.Errorf("a file of another user: %v", err)
	}
}

func TestKeyFilePipe(t *testing.T) {
	pipe := t.TempDir() + "/pipe"
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := New(Config{KeyFile: pipe}); err == nil || !strings.Contains(err.Error(), "no regular file") {
		t.Errorf("a pipe: %v", err)
	}
}

// TestKnowsOwners: where our own id stands for others too, nobody is known to be us.
func TestKnowsOwners(t *testing.T) {
	g := newGuard(t, Config{})
	for _, overflow := range []bool{false, true} {
		g.owners.hasOverflow, g.owners.overflowUID = overflow, uint32(os.Geteuid())
		if g.KnowsOwners() == overflow {
			t.Errorf("overflow %v: known %v", overflow, !overflow)
		}
	}
	if newGuard(t, Config{NoOwners: true}).KnowsOwners() {
		t.Error("known without owners")
	}
}
