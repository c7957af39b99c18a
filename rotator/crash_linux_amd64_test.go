package rotator_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"patrol/rotator/processtest"

	"golang.org/x/sys/unix"
)

// TestCrashAtEveryStep kills a process that rotates, or logs out, at each of its
// steps, one after the other until none is left: right before each system call that
// changes its home, which is also right after the one before it, and before
// each request is sent and after each answer has come. The process runs what
// is shipped; the steps are seen from outside.
func TestCrashAtEveryStep(t *testing.T) {
	for _, scene := range scenes {
		t.Run(scene.name, func(t *testing.T) {
			t.Parallel()
			all := scene.points(t)
			t.Logf("%d points:\n%s", len(all), strings.Join(all, "\n"))
			scene.wantPoints(t, all)
			const sites = 3
			for i := range sites {
				t.Run(fmt.Sprint(i), func(t *testing.T) {
					t.Parallel()
					s := newSite(t)
					for n := i; n < len(all); n += sites {
						s.begin(scene)
						s.killAt(all[:n+1])
						s.afterKill(all[n])
					}
				})
			}
		})
	}
}

// points lists where a process can be killed.
func (c scene) points(t *testing.T) []string {
	t.Helper()
	s := newSite(t)
	s.begin(c)
	tr := tracer{t: t, site: s}
	if got := tr.run(); got != atEnd {
		t.Fatalf("it was killed %s", got)
	}
	s.afterKill(atEnd)
	return tr.points
}

// wantPoints checks that no step was missed.
func (c scene) wantPoints(t *testing.T, all []string) {
	t.Helper()
	want := c.steps
	for _, call := range c.calls {
		want = append(want, "before "+call, "after "+call)
	}
	for _, w := range want {
		if !slices.Contains(all, w) {
			t.Errorf("%q was never reached", w)
		}
	}
}

// killAt kills a process when it comes to the last of these points
// as often as that stands among them.
func (s *site) killAt(points []string) {
	s.Helper()
	tr := tracer{t: s.T, site: s, at: points[len(points)-1]}
	for _, p := range points {
		if p == tr.at {
			tr.left++
		}
	}
	if got := tr.run(); got != tr.at {
		s.Fatalf("killed %s, want %s", got, tr.at)
	}
}

// A tracer runs a process and sees each system call that it makes.
type tracer struct {
	t      *testing.T
	site   *site
	at     string // where it is killed; "" is nowhere
	left   int    // how often it comes there
	pid    int
	within map[int]bool // threads that are in a call, and whether that may read an answer
	sent   string       // the request that was sent last
	stage  string       // that the ledger was told last
	points []string
	killed string
}

// run returns where the process was killed. Several may run at once, each on a
// thread of its own.
func (tr *tracer) run() string {
	tr.t.Helper()
	runtime.LockOSThread() // only the thread that started a process may trace it
	defer runtime.UnlockOSThread()
	cmd := processtest.Command(tr.site.scene.role, tr.site.dir, tr.site.host)
	log, err := os.Create(filepath.Join(tr.t.TempDir(), "log"))
	if err != nil {
		tr.t.Fatal(err)
	}
	defer log.Close()
	cmd.Stderr = log
	cmd.SysProcAttr = &syscall.SysProcAttr{Ptrace: true}
	if err := cmd.Start(); err != nil {
		tr.t.Skip("not allowed to trace: ", err)
	}
	tr.pid, tr.within, tr.killed = cmd.Process.Pid, map[int]bool{}, atEnd
	status := tr.trace()
	_ = cmd.Process.Release()
	if data, err := os.ReadFile(log.Name()); err == nil {
		_, _ = tr.site.logs.Write(data)
	}
	if killed := status.Signaled() && status.Signal() == unix.SIGKILL; killed != (tr.killed != atEnd) || !killed && status.ExitStatus() != 0 {
		tr.t.Fatalf("killed %s: status %#x\n%s", tr.killed, status, tr.site.logs)
	}
	return tr.killed
}

// trace follows the process until it ends.
func (tr *tracer) trace() unix.WaitStatus {
	for first := true; ; first = false {
		var status unix.WaitStatus
		tid, err := unix.Wait4(-1, &status, unix.WALL|unix.WNOTHREAD, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			tr.t.Fatal("waiting for the process: ", err)
		}
		deliver := 0
		switch {
		case status.Exited() || status.Signaled():
			if tid == tr.pid {
				return status
			}
			continue
		case first:
			err = unix.PtraceSetOptions(tr.pid, unix.PTRACE_O_TRACESYSGOOD|unix.PTRACE_O_TRACECLONE|unix.PTRACE_O_EXITKILL)
		case status.StopSignal() == unix.SIGTRAP|0x80:
			tr.call(tid)
		case status.StopSignal() != unix.SIGTRAP && status.StopSignal() != unix.SIGSTOP:
			deliver = int(status.StopSignal())
		}
		if err == nil {
			err = unix.PtraceSyscall(tid, deliver)
		}
		if err != nil && !errors.Is(err, unix.ESRCH) {
			tr.t.Fatal("tracing: ", err)
		}
	}
}

// call looks at a system call that a thread begins or ends.
func (tr *tracer) call(tid int) {
	var regs unix.PtraceRegsAmd64
	if unix.PtraceGetRegsAmd64(tid, &regs) != nil || tr.killed != atEnd {
		return
	}
	if answer, ending := tr.within[tid]; ending {
		delete(tr.within, tid)
		// By what was sent by now: the call may have begun before that.
		if sent := tr.sent; answer && sent != "" && int64(regs.Rax) > 0 {
			tr.sent = "" // the rest of the answer is no step
			tr.reach("after " + sent)
		}
		return
	}
	tr.within[tid] = false
	fd := func() string { // the file behind the first argument
		path, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", tid, regs.Rdi))
		return path
	}
	switch regs.Orig_rax {
	case unix.SYS_OPENAT:
		if regs.Rdx&unix.O_CREAT != 0 {
			tr.change("create", text(tid, regs.Rsi))
		}
	case unix.SYS_READ:
		if strings.HasPrefix(fd(), "socket:") {
			tr.within[tid] = true
		}
	case unix.SYS_WRITE:
		if path := fd(); strings.HasPrefix(path, "socket:") {
			tr.send(text(tid, regs.Rsi))
		} else {
			tr.change("write", path)
		}
	case unix.SYS_PWRITE64:
		if m := stageName.FindStringSubmatch(text(tid, regs.Rsi)); m != nil {
			tr.stage = m[1]
		}
		tr.change("write of "+tr.stage+" to", fd())
	case unix.SYS_FSYNC:
		tr.change("fsync", fd())
	case unix.SYS_FCHMOD, unix.SYS_FCHOWN, unix.SYS_FTRUNCATE:
		tr.change("change", fd())
	case unix.SYS_RENAMEAT2:
		tr.change("exchange", text(tid, regs.R10))
	case unix.SYS_RENAMEAT:
		tr.change("rename", text(tid, regs.Rsi))
	case unix.SYS_RENAME, unix.SYS_LINK, unix.SYS_UNLINK, unix.SYS_MKDIR:
		tr.change(changing[regs.Orig_rax], text(tid, regs.Rdi))
	case unix.SYS_LINKAT, unix.SYS_UNLINKAT, unix.SYS_MKDIRAT:
		tr.change(changing[regs.Orig_rax], text(tid, regs.Rsi))
	}
}

var changing = map[uint64]string{
	unix.SYS_RENAME: "rename", unix.SYS_LINK: "link", unix.SYS_UNLINK: "unlink", unix.SYS_MKDIR: "mkdir",
	unix.SYS_LINKAT: "link", unix.SYS_UNLINKAT: "unlink", unix.SYS_MKDIRAT: "mkdir",
}

var (
	stageName   = regexp.MustCompile(`"stage":"([a-z]+)"`)
	requestLine = regexp.MustCompile(`^((?:GET|POST) [^ ]+) HTTP/`)
	temporary   = regexp.MustCompile(`^\.(.+)\.patrol-[A-Z2-7]+$`)
)

// text reads the memory of a thread that is stopped: a path, or the start of
// what is written.
func text(tid int, at uint64) string {
	b := make([]byte, 160)
	n, _ := unix.PtracePeekData(tid, uintptr(at), b)
	text, _, _ := strings.Cut(string(b[:n]), "\x00")
	return text
}

// send is a request on its way.
func (tr *tracer) send(text string) {
	if m := requestLine.FindStringSubmatch(text); m != nil {
		tr.sent = m[1]
		tr.reach("before " + tr.sent)
	}
}

// change is a call that changes something; it counts if that is in the home.
func (tr *tracer) change(call, path string) {
	if !strings.HasPrefix(path, tr.site.dir) {
		return
	}
	name := filepath.Base(path)
	if path == tr.site.dir {
		name = "the home"
	}
	if m := temporary.FindStringSubmatch(name); m != nil {
		name = m[1]
		if name == "databrickscfg" {
			name = ".databrickscfg"
		}
	}
	switch {
	case strings.HasPrefix(call, "write of"):
		tr.reach("before " + call + " " + name)
	case call == "fsync" && name == "ledger":
		tr.reach("before fsync of ledger after " + tr.stage)
	default:
		tr.reach("before " + call + " of " + name)
	}
}

// reach kills the process if this is the point for it.
func (tr *tracer) reach(point string) {
	tr.points = append(tr.points, point)
	if point == tr.at {
		tr.left--
	}
	if point != tr.at || tr.left > 0 {
		return
	}
	tr.killed = point
	if err := unix.Kill(tr.pid, unix.SIGKILL); err != nil {
		tr.t.Error(err)
	}
}
