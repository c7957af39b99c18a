//go:build clients

package upstream_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"patrol/proxy/upstream"
)

// nginxConfig is of an nginx that passes what it has understood to a server of net/http,
// and says how many requests were on the connection.
const nginxConfig = `
daemon off; pid %[1]s/pid; error_log %[1]s/error.log notice; worker_processes 1;
events { worker_connections 100; }
http {
  log_format requests '$status $request_method $request_uri';
  access_log %[1]s/access.log requests;
  client_body_temp_path %[1]s/body; proxy_temp_path %[1]s/proxy; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
  client_max_body_size 0; proxy_buffer_size 64k; proxy_buffers 8 64k; proxy_busy_buffers_size 128k;
  client_body_buffer_size 64k;
  large_client_header_buffers 4 32k;
  keepalive_requests 50;
  lingering_timeout 1s;
  server {
    listen %[2]s;
    add_header X-Connection $connection always;
    add_header X-Requests $connection_requests always;
    location / { proxy_pass http://%[3]s; proxy_http_version 1.1; }
    location /streamed { proxy_pass http://%[3]s; proxy_http_version 1.1; proxy_request_buffering off; proxy_buffering off; }
    location /small { client_max_body_size 1k; proxy_pass http://%[3]s; }
    location /bad { return 400 "no"; }
    location /slow { limit_rate 200k; proxy_pass http://%[3]s; }
  }
}
`

// nginx is an upstream that others have written.
type nginx struct {
	*upstream.Host
	dir   string
	asked int
	stop  func()
}

// startNginx starts nginx, which it installs if it is missing: that it isn't there is
// no reason to skip.
func startNginx(t *testing.T) *nginx {
	t.Helper()
	path, err := exec.LookPath("nginx")
	if err != nil {
		for _, args := range [][]string{{"update"}, {"install", "-y", "--no-install-recommends", "nginx"}} {
			cmd := exec.CommandContext(t.Context(), "apt-get", append([]string{"-qq", "-o", "DPkg::Lock::Timeout=60"}, args...)...)
			cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive", "RUNLEVEL=1")
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("installing Debian's nginx: %v\n%s", err, out)
			}
		}
		if path, err = exec.LookPath("nginx"); err != nil {
			t.Fatal(err)
		}
	}
	echo := httptest.NewServer(http.HandlerFunc(echoed))
	t.Cleanup(echo.Close)
	// It inherits the socket, as from an older nginx: the port is ours from here on.
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	socket, err := listener.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	n := &nginx{dir: t.TempDir()}
	config := fmt.Sprintf(nginxConfig, n.dir, listener.Addr(), echo.Listener.Addr())
	if os.Geteuid() == 0 {
		config = "user root root;" + config // the folder is ours alone
	}
	if err := os.WriteFile(filepath.Join(n.dir, "conf"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), path, "-p", n.dir, "-c", filepath.Join(n.dir, "conf"), "-e", filepath.Join(n.dir, "error.log"))
	cmd.Env, cmd.ExtraFiles = append(os.Environ(), "NGINX=3;"), []*os.File{socket}
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 5 * time.Second
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	n.stop = func() {
		_ = cmd.Process.Signal(syscall.SIGQUIT) // it ends what it is at
		_ = cmd.Wait()
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		if log, _ := os.ReadFile(filepath.Join(n.dir, "error.log")); t.Failed() {
			t.Logf("%s\n%s", out.String(), log)
		}
	})
	n.Host = newClient(t, upstream.Config{}).Host(&url.URL{Scheme: "http", Host: listener.Addr().String()})
	return n
}

// echoed answers with the request's body, and with what else of it nginx has passed on.
func echoed(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	w.Header().Set("X-Method", r.Method)
	w.Header().Set("X-Target", r.RequestURI)
	w.Header().Set("X-Name", r.Header.Get("X-Name"))
	if n, _ := strconv.Atoi(r.Header.Get("X-Answer")); n > 0 {
		body = []byte(strings.Repeat("y", n))
	}
	_, _ = w.Write(body)
}

func (n *nginx) do(t *testing.T, req *upstream.Request) answer {
	t.Helper()
	n.asked++
	return do(t, n.Host, req)
}

// TestClientNginx: nginx understands what this client writes, and this client nginx.
func TestClientNginx(t *testing.T) {
	n := startNginx(t)
	t.Run("bodies", n.bodies)
	t.Run("fields", n.fields)
	t.Run("kept", n.kept)
	t.Run("refused", n.refused)
	n.stop()
	log, err := os.ReadFile(filepath.Join(n.dir, "access.log"))
	if err != nil {
		t.Fatal(err)
	}
	if lines := strings.Count(string(log), "\n"); lines != n.asked {
		t.Errorf("nginx has read %d requests of %d:\n%s", lines, n.asked, log)
	}
}

// bodies: of all sizes and forms.
func (n *nginx) bodies(t *testing.T) {
	for _, target := range []string{"/a?b=c&d", "/streamed"} {
		for _, size := range []int{0, 1, 1000, 16 << 10, 17 << 10, 100_000, 5 << 20} {
			body := strings.Repeat("body", size/4+1)[:size]
			for _, form := range []string{"whole", "rest", "chunked", "trailer"} {
				req := &upstream.Request{Method: "POST", Target: target, Body: []byte(body), Length: int64(size)}
				if form != "whole" {
					req.Body, req.Rest = req.Body[:size/3], strings.NewReader(body[size/3:])
				}
				if form == "chunked" || form == "trailer" {
					req.Length = -1
				}
				if form == "trailer" {
					req.Trailer = http.Header{"X-T": {"v"}, "X-U": {"w"}}
				}
				a := n.do(t, req)
				if !a.ok() || a.status != 200 || a.body != body || a.header.Get("X-Target") != target || a.header.Get("X-Method") != "POST" {
					t.Errorf("%s %d %s: %d with %d bytes, %v, %v %v", target, size, form, a.status, len(a.body), a.header, a.err, a.cut)
				}
			}
		}
	}
	req := get("/slow")
	req.Header = http.Header{"X-Answer": {"300000"}}
	if a := n.do(t, req); !a.ok() || len(a.body) != 300_000 {
		t.Errorf("%d bytes: %v %v", len(a.body), a.err, a.cut)
	}
}

// fields: large ones, and requests without a body.
func (n *nginx) fields(t *testing.T) {
	for _, method := range []string{"GET", "HEAD", "DELETE", "PUT", "PATCH", "OPTIONS"} {
		for _, size := range []int{1, 1000, 30_000} {
			value := strings.Repeat("v", size)
			a := n.do(t, &upstream.Request{Method: method, Target: "/", Header: http.Header{"X-Name": {value}, "X-Other": {"a", "b"}}, Add: []upstream.Field{{Name: "Authorization", Value: "Bearer " + value[:min(size, 1000)]}}})
			if !a.ok() || a.status != 200 || a.header.Get("X-Name") != value || a.header.Get("X-Method") != method {
				t.Errorf("%s %d: %d %v %v", method, size, a.status, a.err, a.cut)
			}
		}
	}
	a := n.do(t, &upstream.Request{Method: "GET", Target: "/", Header: http.Header{"X-Name": {strings.Repeat("v", 40_000)}}})
	if !a.ok() || a.status != 400 {
		t.Errorf("a field larger than nginx takes: %d %v %v", a.status, a.err, a.cut)
	}
}

// kept: nginx ends a connection after 50 requests, and until then all are on it.
func (n *nginx) kept(t *testing.T) {
	n.do(t, get("/bad")) // whatever was before
	connection, was := "", 0
	for range 160 {
		a := n.do(t, post("b"))
		if !a.ok() || a.body != "b" {
			t.Fatal(a.err, a.cut)
		}
		requests, _ := strconv.Atoi(a.header.Get("X-Requests"))
		if here := a.header.Get("X-Connection"); here != connection {
			if connection != "" && was != 50 {
				t.Errorf("after %d requests another connection", was)
			}
			connection = here
		} else if requests != was+1 {
			t.Errorf("%d requests were on it, and then %d", was, requests)
		}
		was = requests
	}
}

// refused: an answer that comes early, or says that the request is bad.
func (n *nginx) refused(t *testing.T) {
	for name, req := range uploads() {
		req.Target = "/small"
		if a := n.do(t, req); !a.ok() || a.status != 413 {
			t.Errorf("%s: %d %v %v", name, a.status, a.err, a.cut)
		}
	}
	if a := n.do(t, post("small enough")); !a.ok() {
		t.Error(a.err)
	}
	if a := n.do(t, &upstream.Request{Method: "POST", Target: "/bad", Body: []byte("b"), Length: 1}); !a.ok() || a.status != 400 || a.body != "no" {
		t.Errorf("%d %q %v", a.status, a.body, a.err)
	}
	if a := n.do(t, get("/%zz")); !a.ok() || a.status != 400 {
		t.Errorf("%d %v", a.status, a.err)
	}
}
