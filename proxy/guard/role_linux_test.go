package guard

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"patrol/rotator/processtest"
)

// The test binary plays other users' processes. No test gets the main thread: one
// of them moves its own to another network namespace, and the main one's is that
// of /proc/net.
func TestMain(m *testing.M) {
	runtime.LockOSThread()
	processtest.Main(m, map[string]func(args []string) int{"client": playClient, "server": playServer})
}

// clientArgs say what another user's client does.
type clientArgs struct {
	Addr    string
	Request string
	Source  string // address that it binds to first; "": none
	Reset   bool   // it sends, and resets the connection without waiting
	Close   bool   // it sends, and closes
}

type clientAnswer struct {
	Status       int
	Reason, Body string
	Local        string
	Err          string
}

func playClient(arg []string) int {
	var args clientArgs
	if err := json.Unmarshal([]byte(arg[0]), &args); err != nil {
		panic(err)
	}
	_ = json.NewEncoder(os.Stdout).Encode(args.run())
	return 0
}

func (args clientArgs) run() (answer clientAnswer) {
	d := net.Dialer{}
	if args.Source != "" {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.MustParseAddrPort(args.Source))
	}
	c, err := d.Dial("tcp", args.Addr)
	if err != nil {
		return clientAnswer{Err: err.Error()}
	}
	defer func() { _ = c.Close() }()
	answer.Local = c.LocalAddr().String()
	if args.Reset || args.Close {
		if args.Reset {
			_ = c.(*net.TCPConn).SetLinger(0)
		}
		_, _ = io.WriteString(c, strings.ReplaceAll(args.Request, "\n", "\r\n"))
		return answer
	}
	answer.Status, answer.Reason, answer.Body, err = sendRequest(c, args.Request)
	if err != nil {
		answer.Err = err.Error()
	}
	return answer
}

// serverArgs configure another user's server.
type serverArgs struct{ AllowUsers []string }

func playServer(arg []string) int {
	var args serverArgs
	if err := json.Unmarshal([]byte(arg[0]), &args); err != nil {
		panic(err)
	}
	g, err := New(Config{AllowUsers: args.AllowUsers})
	if err != nil {
		panic(err)
	}
	g.SetKeys(testKeys())
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println(l.Addr())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // until the test ends
		os.Exit(0)
	}()
	panic((&http.Server{Handler: newHandler(g), ConnContext: g.ConnContext}).Serve(l))
}

// needOthers skips the test where no process can be started as another user:
// that takes root, and not every container's.
func needOthers(t *testing.T) {
	t.Helper()
	cmd := exec.Command("true")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: mallory, Gid: mallory}}
	if err := cmd.Run(); err != nil {
		t.Skip("no process can be started as another user: ", err)
	}
}

// commandAs returns a command that plays a role as this user.
func commandAs(t *testing.T, uid uint32, role string, args any) *exec.Cmd {
	t.Helper()
	needOthers(t)
	text, err := json.Marshal(args)
	if err != nil {
		t.Fatal(err)
	}
	cmd := processtest.Command(role, string(text))
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	cmd.Stderr = t.Output()
	return cmd
}

func clientAs(t *testing.T, uid uint32, args clientArgs) (answer clientAnswer) {
	t.Helper()
	out, err := commandAs(t, uid, "client", args).Output()
	if err != nil {
		t.Fatalf("client as uid %d: %v", uid, err)
	}
	if err := json.Unmarshal(out, &answer); err != nil {
		t.Fatalf("client as uid %d: %v in %q", uid, err, out)
	}
	return answer
}

// startServer runs cmd, a server, until the test ends, and returns its address.
func startServer(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = in.Close(); _ = cmd.Wait() })
	addr, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the server says nothing: %v", err)
	}
	return strings.TrimSpace(addr)
}

const (
	get        = "GET / HTTP/1.1\nHost: localhost\n\n"
	getWithKey = "GET / HTTP/1.1\nHost: localhost\nX-Api-Key: " + key + "\n\n"

	alice, bob, mallory = 41001, 41002, 41003
)
