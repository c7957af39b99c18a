//go:build unix

package ledger_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"patrol/rotator/ledger"
)

const stranger = 12345

// TestForeignLedger: whoever owns the ledger decides which tokens patrol revokes.
func TestForeignLedger(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root gives files away")
	}
	for name, foreign := range map[string]func(dir string) string{
		"ledger": file,
		"folder": func(dir string) string { return dir },
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "state")
			l := open(t, dir)
			put(t, l, ledger.Entry{Nonce: "a", Stage: ledger.Minted})
			if err := errors.Join(l.Close(), os.Chown(foreign(dir), stranger, -1)); err != nil {
				t.Fatal(err)
			}
			before := content(t, dir)
			_, err := ledger.Open(ledger.Config{Dir: dir})
			if err == nil || !strings.Contains(err.Error(), foreign(dir)+" belongs to uid 12345") || !strings.Contains(err.Error(), "--state-dir") {
				t.Errorf("Open = %v", err)
			}
			if got := content(t, dir); got != before {
				t.Error("it was written")
			}
		})
	}
}

// TestFolderOfAnother: another user's folder stands where the state folder was. Nothing
// is read or written there; what is known is kept in memory until our own is back.
func TestFolderOfAnother(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root gives files away")
	}
	dir := filepath.Join(t.TempDir(), "state")
	l := open(t, dir)
	put(t, l, ledger.Entry{Nonce: "a", Stage: ledger.Minted})
	other := open(t, dir+".other")
	put(t, other, ledger.Entry{Nonce: "theirs", Stage: ledger.Minted})
	err := errors.Join(other.Close(), os.Rename(dir, dir+".old"), os.Rename(dir+".other", dir), os.Remove(filepath.Join(dir, "lock")),
		os.Chown(file(dir), stranger, -1), os.Chown(dir, stranger, -1))
	if err != nil {
		t.Fatal(err)
	}
	before := content(t, dir)
	if err := l.Put(ledger.Entry{Nonce: "b", Stage: ledger.Minted}); err == nil || !strings.Contains(err.Error(), "belongs to uid 12345") {
		t.Errorf("Put = %v", err)
	}
	if got := stages(l); len(got) != 2 || got["theirs"] != "" || l.Err() == nil {
		t.Errorf("it knows %v, Err = %v", got, l.Err())
	}
	if _, err := os.Stat(filepath.Join(dir, "lock")); content(t, dir) != before || err == nil {
		t.Error("something was written there")
	}
	if err := errors.Join(os.RemoveAll(dir), os.Rename(dir+".old", dir), l.Save(), l.Close()); err != nil {
		t.Fatal(err)
	}
	if got := stages(open(t, dir)); len(got) != 2 {
		t.Errorf("back again it knows %v", got)
	}
}

// content is the ledger's text.
func content(t *testing.T, dir string) string {
	t.Helper()
	text, err := os.ReadFile(file(dir))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
