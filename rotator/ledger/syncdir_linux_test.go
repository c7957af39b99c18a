package ledger_test

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"patrol/rotator/ledger"
	"patrol/rotator/processtest"
)

// TestFolderThatCannotBeSynced: some network and FUSE file systems answer
// fsync of a folder with EINVAL, and keep their folders in order without it.
func TestFolderThatCannotBeSynced(t *testing.T) {
	if !processtest.Again(t, nil) {
		return
	}
	refused := refuseFolderSync(t)
	dir := filepath.Join(t.TempDir(), "state")
	l := open(t, dir)
	put(t, l, ledger.Entry{Nonce: "a", Stage: ledger.Minted})
	if err := os.Remove(file(dir)); err != nil { // so that the next Put writes it anew
		t.Fatal(err)
	}
	put(t, l, ledger.Entry{Nonce: "b", Stage: ledger.Minted})
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if got := stages(open(t, dir)); len(got) != 2 {
		t.Errorf("after a restart it has %v", got)
	}
	if len(refused) == 0 {
		t.Error("no folder was synced: this test shows nothing")
	}
}

// refuseFolderSync makes every fsync of a folder by this process fail with
// EINVAL from now on, and sends the folders: the kernel asks us about each
// fsync before it does it.
func refuseFolderSync(t *testing.T) <-chan string {
	t.Helper()
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS}, // the call's number
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_FSYNC, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_USER_NOTIF},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		t.Skip(err)
	}
	const flags = unix.SECCOMP_FILTER_FLAG_NEW_LISTENER | unix.SECCOMP_FILTER_FLAG_TSYNC | unix.SECCOMP_FILTER_FLAG_TSYNC_ESRCH
	listener, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, uintptr(unsafe.Pointer(&program)))
	if errno != 0 {
		t.Skip("the kernel lets nobody answer for it: ", errno)
	}
	refused := make(chan string, 100)
	go func() { // ends with the process, as the filter does
		for {
			// As struct seccomp_notif and struct seccomp_notif_resp.
			var call struct {
				ID         uint64
				PID, Flags uint32
				Number     int32
				Arch       uint32
				IP         uint64
				Args       [6]uint64
			}
			var answer struct {
				ID    uint64
				Value int64
				Error int32
				Flags uint32
			}
			if _, _, errno := unix.Syscall(unix.SYS_IOCTL, listener, unix.SECCOMP_IOCTL_NOTIF_RECV, uintptr(unsafe.Pointer(&call))); errno != 0 {
				continue // the caller was interrupted
			}
			answer.ID, answer.Flags = call.ID, unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE
			path := fmt.Sprintf("/proc/self/fd/%d", call.Args[0])
			if info, err := os.Stat(path); err == nil && info.IsDir() {
				answer.Error, answer.Flags = -int32(unix.EINVAL), 0
				folder, _ := os.Readlink(path)
				refused <- folder
			}
			_, _, _ = unix.Syscall(unix.SYS_IOCTL, listener, unix.SECCOMP_IOCTL_NOTIF_SEND, uintptr(unsafe.Pointer(&answer)))
		}
	}()
	return refused
}
