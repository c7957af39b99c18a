package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"patrol/cmd/patrol/internal/cli"
	"patrol/cmd/patrol/internal/control"
	"patrol/rotator/workspacetest"
)

// slowDiskVariable names a file: while it is there, each fsync takes slowSync.
const slowDiskVariable = "SLOW_DISK"

const slowSync = 3 * time.Second

// patrolOnSlowDisk is patrol, whose calls of fsync the kernel asks this process
// itself about (seccomp's user notification), as on a disk that hangs.
func patrolOnSlowDisk() {
	if err := slowDisk(os.Getenv(slowDiskVariable)); err != nil {
		fmt.Fprintln(os.Stderr, "this kernel can't make a disk slow:", err)
		os.Exit(cli.ExitFailed)
	}
	os.Exit(realMain(cli.Process{}))
}

func slowDisk(while string) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	const retUserNotify = 0x7fc00000
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}, // the number of the call
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jt: 1, K: unix.SYS_FSYNC},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
		{Code: unix.BPF_RET | unix.BPF_K, K: retUserNotify},
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	const flags = unix.SECCOMP_FILTER_FLAG_TSYNC | unix.SECCOMP_FILTER_FLAG_NEW_LISTENER | unix.SECCOMP_FILTER_FLAG_TSYNC_ESRCH
	fd, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, uintptr(unsafe.Pointer(&prog)))
	if errno != 0 {
		return errno
	}
	go answerSyncs(fd, while)
	return nil
}

// A syncCall and its answer are the kernel's struct seccomp_notif and
// seccomp_notif_resp.
type (
	syncCall struct {
		id   uint64
		rest [9]uint64
	}
	syncAnswer struct {
		id    uint64
		val   int64
		errno int32
		flags uint32
	}
)

// answerSyncs lets each fsync go on, late while the file is there.
func answerSyncs(fd uintptr, while string) {
	const receive, send, goOn = 0xc0502100, 0xc0182101, 1
	for {
		var call syncCall
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, fd, receive, uintptr(unsafe.Pointer(&call))); errno != 0 {
			continue // the thread was interrupted, and asks again
		}
		go func() {
			if _, err := os.Stat(while); err == nil {
				time.Sleep(slowSync)
			}
			_, _, _ = unix.Syscall(unix.SYS_IOCTL, fd, send, uintptr(unsafe.Pointer(&syncAnswer{id: call.id, flags: goOn})))
		}()
	}
}

// ask asks the service how it is.
func (s *site) ask() error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := control.Dial(ctx, s.state, patience)
	if err == nil {
		_, err = c.Status(ctx)
	}
	return err
}

// A disk that takes 3 seconds for each fsync makes nobody wait who asks how the
// service is.
func TestStatusOnSlowDisk(t *testing.T) {
	t.Parallel()
	s := newSite(t, workspacetest.Config{})
	slow := filepath.Join(s.app.environ.Get("HOME"), "slow")
	p := &process{Cmd: exec.Command("patrol-on-slow-disk", "serve", "--listen", "127.0.0.1:0", "--grace", "0s")} //nolint:noctx // the cleanup ends it
	p.Env, p.Stdout, p.Stderr = append(s.app.environ, slowDiskVariable+"="+slow), p, p
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = p.Process.Kill()
		_ = p.Wait()
		if t.Failed() {
			t.Log(p.output())
		}
	})
	proxy := s.awaitReady(t)
	rotate := func() error {
		cmd := exec.CommandContext(t.Context(), "patrol", "rotate")
		cmd.Env = s.app.environ
		out, err := cmd.CombinedOutput()
		if err != nil {
			err = fmt.Errorf("%w: %s", err, out)
		}
		return err
	}
	if err := rotate(); err != nil { // it waits for the rotation of the start, which may still be writing
		t.Fatal(err)
	}
	s.app.write(t, "slow", "")
	rotated := make(chan error, 1)
	go func() { rotated <- rotate() }()

	get := func(path string) func() error {
		client := http.Client{Timeout: patience}
		return func() error {
			resp, err := client.Get(proxy + path) //nolint:noctx // it has a timeout
			if err != nil {
				return err
			}
			return resp.Body.Close()
		}
	}
	end := time.Now().Add(2 * slowSync)
	var asking sync.WaitGroup
	for what, ask := range map[string]func() error{
		"/readyz": get("/readyz"), "/health": get("/health"), "/metrics": get("/metrics"),
		"a request": func() error { _, _, err := chat(proxy); return err },
		"status":    s.ask,
	} {
		asking.Go(func() {
			const enough, pause = 2 * time.Second, 20 * time.Millisecond
			var longest time.Duration
			for ; time.Now().Before(end); time.Sleep(pause) {
				began := time.Now()
				if err := ask(); err != nil {
					t.Errorf("%s: %v", what, err)
				}
				longest = max(longest, time.Since(began))
			}
			if longest > enough {
				t.Errorf("%s took up to %v", what, longest)
			}
		})
	}
	asking.Wait()
	select {
	case err := <-rotated:
		t.Fatalf("the disk isn't slow: rotated (%v) within %v", err, 2*slowSync)
	default:
	}
	if err := os.Remove(slow); err != nil {
		t.Fatal(err)
	}
	if err := <-rotated; err != nil {
		t.Error(err)
	}
}
