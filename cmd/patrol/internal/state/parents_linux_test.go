package state

import (
	"os"
	"syscall"
	"testing"

	"patrol/rotator/processtest"
)

// TestLookAboveInSandbox: in a user namespace of one user, as bwrap makes for the commands
// of agents, root's folders seem to be a stranger's.
func TestLookAboveInSandbox(t *testing.T) {
	uid := os.Geteuid()
	attr := &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER}
	if uid == 0 { // whom such a namespace would have
		uid = 12345
		attr.Credential = &syscall.Credential{Uid: 12345, Gid: 12345, NoSetGroups: true}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 12345, HostID: 12345, Size: 1}}
	}
	attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: uid, HostID: uid, Size: 1}}
	if !processtest.Again(t, attr) {
		return
	}
	info, err := os.Stat("/")
	if err != nil {
		t.Fatal(err)
	}
	if owner, _ := OwnerOf(info); !isOverflow(owner) {
		t.Skipf("/ belongs to uid %d", owner)
	}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil { //nolint:gosec // it is ours alone
		t.Fatal(err)
	}
	if err := CheckPrivate(dir); err != nil {
		t.Error(err)
	}
}
