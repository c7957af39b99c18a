package guard

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestListenerIsNoClient asks for a connection that isn't there, from a port
// on which we listen: the kernel offers the listener.
func TestListenerIsNoClient(t *testing.T) {
	l := listen(t)
	at, _ := addrPort(l.Addr())
	d := &sockDiag{fd: -1}
	defer func() { _ = d.close() }()
	if r, err := d.find(tuple{local: at, remote: netip.MustParseAddrPort("127.0.0.1:4000")}); !errors.Is(err, errNoSocket) {
		t.Errorf("a listener passes for a client: %+v, %v", r, err)
	}
}

// TestGoneClients are those who send a request and don't wait.
func TestGoneClients(t *testing.T) {
	proc := onlyTables(newGuard(t, Config{}), newProcNet())
	both := newGuard(t, Config{})
	for name, g := range map[string]*Guard{"netlink": both, "/proc": proc} {
		for _, reset := range []bool{false, true} {
			l := listen(t)
			c := dial(t, l)
			server, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
			if reset {
				_ = c.(*net.TCPConn).SetLinger(0)
			}
			_ = c.Close()
			// The request can still be read.
			if n, err := server.Read(make([]byte, 5)); n != 5 {
				t.Fatalf("reading what the client left: %d, %v", n, err)
			}
			if s, uid := g.lookUpPeer(server); s != peerGone {
				t.Errorf("by %s, reset %v: class %d, uid %d", name, reset, s, uid)
			}
			_ = server.Close()
		}
	}
}

// TestGoneClientIsRefused sees it through the server: nothing that a client
// sent before it left is done.
func TestGoneClientIsRefused(t *testing.T) {
	g := newGuard(t, Config{})
	l := listen(t)
	for _, reset := range []bool{false, true} {
		// The request waits in the kernel's queue while its sender goes.
		clientArgs{Addr: l.Addr().String(), Request: getWithKey, Reset: reset, Close: true}.run()
	}
	serveOn(t, g, l)
	waitUntil(t, func() bool { return g.Counters()["client_gone"] == 2 })
}

// TestPortTakenOver is an attack: another user sends a request, resets the
// connection while the request waits to be accepted, and one of our own
// clients comes to use the same port.
func TestPortTakenOver(t *testing.T) {
	g := newGuard(t, Config{})
	proc := onlyTables(newGuard(t, Config{}), newProcNet())
	l := listen(t)
	// An address that nobody else uses, so that the port is free to be taken.
	left := clientAs(t, mallory, clientArgs{Addr: l.Addr().String(), Request: get, Reset: true, Source: "127.41.0.4:0"})
	ours, err := (&net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.MustParseAddrPort(left.Local))}).Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ours.Close() }()

	mallorys, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = mallorys.Close() }()
	next, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = next.Close() }()
	if mallorys.RemoteAddr().String() != next.RemoteAddr().String() {
		t.Fatalf("no attack: %v and %v", mallorys.RemoteAddr(), next.RemoteAddr())
	}
	// This is why our own end must be looked up too.
	bait := tuple{local: netip.MustParseAddrPort(left.Local), remote: netip.MustParseAddrPort(l.Addr().String())}
	if r, err := g.owners.sockDiag.find(bait); err != nil || r.uid != 0 {
		t.Fatalf("no attack: the client's address leads to %+v, %v", r, err)
	}
	for name, g := range map[string]*Guard{"netlink": g, "/proc": proc} {
		if s, uid := g.lookUpPeer(mallorys); s != peerGone {
			t.Errorf("by %s: the other user's request has class %d, uid %d", name, s, uid)
		}
		if s, _ := g.lookUpPeer(next); s != peerAllowed {
			t.Errorf("by %s: our own client's has class %d", name, s)
		}
	}
}

// TestNeighbourAddress is an attack on guards that compare ports only: another
// user binds our client's port on another loopback address.
func TestNeighbourAddress(t *testing.T) {
	addr := serve(t, newGuard(t, Config{}), "tcp4", "127.0.0.1:0")
	ours, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ours.Close() }()
	port := ours.LocalAddr().(*net.TCPAddr).Port
	answer := clientAs(t, mallory, clientArgs{Addr: addr, Request: get, Source: fmt.Sprintf("127.0.0.2:%d", port)})
	if answer.Status != 403 || answer.Reason != "foreign_user" {
		t.Errorf("%+v, want 403 foreign_user", answer)
	}
	if status, _, _, err := sendRequest(ours, get); status != 200 {
		t.Errorf("our own client: %d, %v", status, err)
	}
}

// TestOtherNetworkNamespace accepts connections of another network namespace,
// as a service does whose listener was handed to it. Our own namespace holds
// a connection between the very same addresses, made by root.
func TestOtherNetworkNamespace(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can make a network namespace")
	}
	bait := listen(t)
	baitClient := dial(t, bait)
	from := baitClient.LocalAddr().(*net.TCPAddr)

	type pair struct {
		server net.Conn
		err    error
	}
	made := make(chan pair)
	done := make(chan struct{})
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with its namespace
		server, client, err := connectElsewhere(bait.Addr().String(), from)
		made <- pair{server, err}
		<-done
		if err == nil {
			_ = client.Close()
		}
	}()
	elsewhere := <-made
	defer close(done)
	if elsewhere.err != nil {
		t.Skip(elsewhere.err)
	}
	defer func() { _ = elsewhere.server.Close() }()
	if elsewhere.server.RemoteAddr().String() != from.String() {
		t.Fatalf("no attack: %v, want %v", elsewhere.server.RemoteAddr(), from)
	}
	g := newGuard(t, Config{})
	if s, uid := g.lookUpPeer(elsewhere.server); s != peerUnknown {
		t.Errorf("a connection of another namespace has class %d, uid %d", s, uid)
	}
}

// connectElsewhere moves the thread to a new network namespace and connects to
// addr there, from the given address.
func connectElsewhere(addr string, from *net.TCPAddr) (server, client net.Conn, err error) {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return nil, nil, err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = unix.Close(fd) }()
	up, err := unix.NewIfreq("lo")
	if err != nil {
		return nil, nil, err
	}
	up.SetUint16(unix.IFF_UP)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, up); err != nil {
		return nil, nil, err
	}
	l, err := net.Listen("tcp4", addr)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = l.Close() }()
	if client, err = (&net.Dialer{LocalAddr: from}).Dial("tcp4", addr); err != nil {
		return nil, nil, err
	}
	server, err = l.Accept()
	return server, client, err
}

// TestUserNamespace runs the guard where every other user of the machine has
// the same id: its own.
func TestUserNamespace(t *testing.T) {
	const overflow = 65534
	cmd := commandAs(t, alice, "server", serverArgs{AllowUsers: []string{strconv.Itoa(overflow)}})
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: overflow, HostID: alice, Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: overflow, HostID: alice, Size: 1}},
		Credential:  &syscall.Credential{Uid: overflow, Gid: overflow},
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = in.Close() }()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Skip("no user namespaces here: ", err)
	}
	t.Cleanup(func() { _ = cmd.Wait() })
	addr, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	addr = strings.TrimSpace(addr)
	for _, uid := range []uint32{0, mallory, alice} {
		if answer := clientAs(t, uid, clientArgs{Addr: addr, Request: get}); answer.Status != 401 || answer.Reason != "owner_unknown" {
			t.Errorf("uid %d: %+v, want 401 owner_unknown", uid, answer)
		}
		if answer := clientAs(t, uid, clientArgs{Addr: addr, Request: getWithKey}); answer.Status != 200 {
			t.Errorf("uid %d with a key: %+v", uid, answer)
		}
	}
	_ = in.Close()
}

// TestSlotsAreReserved lets another user take every slot that it can get: there is
// one left for us.
func TestSlotsAreReserved(t *testing.T) {
	g := newGuard(t, Config{MaxConns: 4})
	l := listen(t)
	var theirs []*exec.Cmd
	serveOn(t, g, g.Limit(l))
	for range 6 {
		cmd := commandAs(t, mallory, "client", clientArgs{Addr: l.Addr().String(), Request: "GET / HTTP/1.1\n"}) // and no more
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		theirs = append(theirs, cmd)
	}
	defer func() {
		for _, cmd := range theirs {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	}()
	waitUntil(t, func() bool { return g.Counters()["crowded"] == 4 })
	for range 10 {
		if status, reason, _ := requestOnce(t, l.Addr().String(), get); status != 200 {
			t.Errorf("our own client: %d %s", status, reason)
		}
	}
	if got := g.Counters()["crowded"]; got != 4 {
		t.Errorf("%d connections were closed for room, want 4", got)
	}
}
