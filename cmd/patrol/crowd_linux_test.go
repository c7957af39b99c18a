package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"

	"patrol/cmd/patrol/internal/control"
	"patrol/rotator/workspacetest"
)

// TestManyWaitInLittleMemory: large requests that wait for a token are in memory as far as
// there is room for them, and no further. 24 of 12 MB had a process of 256 MB killed.
func TestManyWaitInLittleMemory(t *testing.T) {
	const size, limit = 12 << 20, 256 << 20
	clients := max(many(24), 2)
	s := newSite(t, workspacetest.Config{})
	for _, token := range s.Live() {
		s.Revoke(token.ID) // nothing comes of that one
	}
	s.app.environ = append(s.app.environ, fmt.Sprintf("GOMEMLIMIT=%d", limit))
	p := s.patrol(t, "serve", "--listen", "127.0.0.1:0", "--wait", "2s")
	var addr string
	await(t, func() bool {
		c, err := control.Dial(t.Context(), s.state, patience)
		if err != nil {
			return false
		}
		addr = c.Listen[0]
		return true
	})
	head := fmt.Sprintf("POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: %d\r\n\r\n", size)
	body := bytes.Repeat([]byte("x"), size)
	var asking sync.WaitGroup
	for range clients {
		asking.Go(func() {
			conn, err := net.Dial("tcp", addr)
			if err != nil {
				t.Error(err)
				return
			}
			defer func() { _ = conn.Close() }()
			go func() {
				_, _ = io.WriteString(conn, head)
				_, _ = conn.Write(body) // which may not be read to its end
			}()
			answer, _ := io.ReadAll(conn)
			if len(answer) > 0 && !strings.HasPrefix(string(answer), fmt.Sprintf("HTTP/1.1 %d ", http.StatusServiceUnavailable)) {
				t.Errorf("%.80s", answer)
			}
		})
	}
	asking.Wait()
	if peak := peakResident(t, p.Process.Pid); peak > limit*3/4 {
		t.Errorf("%d MB at most, of %d", peak>>20, limit>>20)
	} else {
		t.Logf("%d MB at most", peak>>20)
	}
	p.ends(t)
}

// peakResident returns the most memory of a process that was resident, in bytes.
func peakResident(t *testing.T, pid int) (n int) {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(status) {
		_, _ = fmt.Sscanf(string(line), "VmHWM: %d kB", &n)
	}
	return n << 10
}
