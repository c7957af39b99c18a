package atomicfile

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"patrol/rotator/processtest"
)

// killAt runs a process that writes the files in dir and kills it right
// before the n-th system call that changes what is in dir. It returns what
// that call was, "" if there is no n-th and the process ended by itself.
func killAt(t *testing.T, dir string, n int) (call string) {
	t.Helper()
	runtime.LockOSThread() // only the thread that started a process may trace it
	defer runtime.UnlockOSThread()
	cmd := processtest.Command("once", dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Ptrace: true}
	if err := cmd.Start(); err != nil {
		t.Skip("not allowed to trace: ", err)
	}
	pid := cmd.Process.Pid
	within := map[int]bool{} // threads that are in a call
	for first := true; ; first = false {
		var status unix.WaitStatus
		tid, err := unix.Wait4(-1, &status, unix.WALL|unix.WNOTHREAD, nil)
		if err != nil {
			t.Fatal("waiting for the writer: ", err)
		}
		deliver := 0
		switch {
		case status.Exited() || status.Signaled():
			if tid != pid {
				continue
			}
			if call == "" && status.ExitStatus() != 0 {
				t.Fatalf("the writer failed: %v", status)
			}
			return call
		case first:
			err = unix.PtraceSetOptions(pid, unix.PTRACE_O_TRACESYSGOOD|unix.PTRACE_O_TRACECLONE|unix.PTRACE_O_EXITKILL)
		case status.StopSignal() == unix.SIGTRAP|0x80:
			if within[tid] = !within[tid]; within[tid] && call == "" {
				what := changes(tid, dir)
				if what != "" {
					n--
				}
				if n == 0 {
					call = what
					err = unix.Kill(pid, unix.SIGKILL)
				}
			}
		case status.StopSignal() != unix.SIGTRAP && status.StopSignal() != unix.SIGSTOP:
			deliver = int(status.StopSignal())
		}
		if err == nil {
			err = unix.PtraceSyscall(tid, deliver)
		}
		if err != nil && !errors.Is(err, unix.ESRCH) {
			t.Fatal("tracing: ", err)
		}
	}
}

// changes names the call that a thread is about to make, if it changes what
// is in dir.
func changes(tid int, dir string) string {
	var regs unix.PtraceRegsAmd64
	if unix.PtraceGetRegsAmd64(tid, &regs) != nil {
		return ""
	}
	open := func() string { // the file behind the first argument
		path, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", tid, regs.Rdi))
		if !strings.HasPrefix(path, dir) {
			return ""
		}
		return strings.TrimPrefix(filepath.Base(path), ".")
	}
	switch regs.Orig_rax {
	case unix.SYS_OPENAT:
		if regs.Rdx&unix.O_CREAT != 0 {
			return "create"
		}
	case unix.SYS_WRITE, unix.SYS_FSYNC, unix.SYS_FCHMOD, unix.SYS_FTRUNCATE:
		if name := open(); name != "" {
			return map[uint64]string{
				unix.SYS_WRITE: "write", unix.SYS_FSYNC: "fsync", unix.SYS_FCHMOD: "fchmod", unix.SYS_FTRUNCATE: "ftruncate",
			}[regs.Orig_rax]
		}
	case unix.SYS_RENAME, unix.SYS_RENAMEAT, unix.SYS_RENAMEAT2:
		return "rename"
	case unix.SYS_LINK, unix.SYS_LINKAT:
		return "link"
	case unix.SYS_UNLINK, unix.SYS_UNLINKAT:
		return "unlink"
	case unix.SYS_MKDIR, unix.SYS_MKDIRAT:
		return "mkdir"
	}
	return ""
}

// TestKillAtEveryStep kills a writer before each of its calls that change the
// disk, one after the other until none is left. Each time every file is whole,
// the old one or the new one, and the next write completes it and cleans up.
func TestKillAtEveryStep(t *testing.T) {
	var calls []string
	for n := 1; ; n++ {
		dir, err := filepath.EvalSymlinks(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range files {
			if name == created {
				continue
			}
			if err := os.WriteFile(filepath.Join(dir, name), []byte(content(name, "old")), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		call := killAt(t, dir, n)
		for _, name := range files {
			b, err := os.ReadFile(filepath.Join(dir, name))
			asBefore := name == created && os.IsNotExist(err) || name != created && string(b) == content(name, "old")
			written := string(b) == content(name, "new")
			if !asBefore && !written || call == "" && !written {
				t.Errorf("killed before call %d (%s): %s holds %q (%v)", n, call, name, b, err)
			}
		}
		if err := editAll(dir, "new"); err != nil {
			t.Errorf("writing after a kill before call %d (%s): %v", n, call, err)
		}
		if left, _ := filepath.Glob(filepath.Join(dir, ".*.patrol-*")); len(left) > 0 {
			t.Errorf("after a kill before call %d (%s) %v stays", n, call, left)
		}
		if call == "" {
			break
		}
		calls = append(calls, call)
	}
	t.Logf("killed before each of %d calls: %v", len(calls), calls)
	for _, want := range []string{"create fchmod write fsync rename fsync unlink", "create fchmod write fsync link fsync unlink"} {
		if !strings.Contains(strings.Join(calls, " "), want) {
			t.Errorf("%q was never reached", want)
		}
	}
}
