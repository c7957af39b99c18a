//go:build unix

package ledger_test

import (
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"patrol/rotator/ledger"
)

// TestLedgerIsAPipe: nobody waits for one to write to it.
func TestLedgerIsAPipe(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mkfifo(file(dir), 0o600); err != nil {
		t.Skip(err)
	}
	if _, err := ledger.Open(ledger.Config{Dir: dir}); err == nil || !strings.Contains(err.Error(), "move it away") {
		t.Errorf("Open = %v", err)
	}
	if _, _, err := ledger.Read(dir); err == nil || !strings.Contains(err.Error(), "move it away") {
		t.Errorf("Read = %v", err)
	}
	if info, err := os.Stat(file(dir)); err != nil || info.Mode().IsRegular() {
		t.Errorf("%v, %v", info, err)
	}
}
