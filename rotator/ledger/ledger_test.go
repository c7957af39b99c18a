package ledger_test

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"patrol/rotator/ledger"
	"patrol/rotator/pat"
)

func open(t *testing.T, dir string) *ledger.Ledger {
	t.Helper()
	l, err := ledger.Open(ledger.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func put(t *testing.T, l *ledger.Ledger, e ledger.Entry) {
	t.Helper()
	if err := l.Put(e); err != nil {
		t.Fatal(err)
	}
}

func file(dir string) string { return filepath.Join(dir, "ledger") }

// stages returns nonce → stage of what is pending, as a restart sees it.
func stages(l *ledger.Ledger) map[string]ledger.Stage {
	got := map[string]ledger.Stage{}
	for _, e := range l.Pending() {
		got[e.Nonce] = e.Stage
	}
	return got
}

func TestLedgerRemembers(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state", "DEFAULT")
	l := open(t, dir)
	want := ledger.Entry{
		Nonce: "n1", Stage: ledger.Current, Hash: "h1", Host: pat.Host{Scheme: "https", Name: "w.example", Workspace: "7"},
		Info:        pat.Info{ID: "id", Comment: "patrol/i/n1", Scopes: []string{"sql"}, Created: time.Unix(1, 0).UTC(), Expiry: time.Unix(2, 0).UTC()},
		LocalExpiry: time.Unix(3, 0).UTC(), Files: []string{"databrickscfg"},
	}
	put(t, l, ledger.Entry{Nonce: "n1", Stage: ledger.Intended})
	put(t, l, want)
	put(t, l, ledger.Entry{Nonce: "n2", Stage: ledger.Revoked, Hash: "h2", Found: []string{"profile"}, Pinned: true})
	instance := l.Instance()
	l.Close()

	l = open(t, dir)
	got, ok := l.ByHash("h1")
	if want.At = got.At; !ok || got.At.IsZero() || !reflect.DeepEqual(got, want) {
		t.Errorf("after a restart: %+v, want %+v", got, want)
	}
	if e, ok := l.ByHash("h2"); !ok || e.Ours() || !e.Pinned || !l.Knows("h2") || l.Knows("h3") || l.Knows("") {
		t.Errorf("an ended token isn't known any more: %+v %v", e, ok)
	}
	if got := stages(l); !reflect.DeepEqual(got, map[string]ledger.Stage{"n1": ledger.Current}) {
		t.Errorf("pending: %v", got)
	}
	if instance == "" || l.Instance() != instance {
		t.Errorf("instance %q became %q", instance, l.Instance())
	}
}

func TestLedgerModes(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no modes")
	}
	dir := filepath.Join(t.TempDir(), "state")
	l := open(t, dir)
	put(t, l, ledger.Entry{Nonce: "n"})
	for path, want := range map[string]os.FileMode{dir: 0o700, file(dir): 0o600, filepath.Join(dir, "lock"): 0o600} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("%s has mode %o, want %o", path, got, want)
		}
	}
}

func TestLedgerInstanceOverride(t *testing.T) {
	dir := t.TempDir()
	l, err := ledger.Open(ledger.Config{Dir: dir, Instance: "mine"})
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if got := open(t, dir).Instance(); got != "mine" {
		t.Errorf("instance %q after an override", got)
	}
}

func TestLedgerIsLocked(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	if _, err := ledger.Open(ledger.Config{Dir: dir}); !errors.Is(err, ledger.ErrLocked) {
		t.Fatalf("a second Open: %v", err)
	}
	l.Close()
	open(t, dir)
}

// TestLedgerLockDiesWithItsProcess kills a process that holds the lock.
func TestLedgerLockDiesWithItsProcess(t *testing.T) {
	const hold = "PATROL_TEST_HOLD_LEDGER"
	if dir := os.Getenv(hold); dir != "" {
		open(t, dir)
		os.Stdout.WriteString("held\n")
		select {}
	}
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0], "-test.run=^TestLedgerLockDiesWithItsProcess$")
	cmd.Env = append(os.Environ(), hold+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if _, err := ledger.Open(ledger.Config{Dir: dir}); !errors.Is(err, ledger.ErrLocked) {
		t.Errorf("while it lives: %v", err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	open(t, dir)
}

// TestLedgerTornAtEveryByte cuts the file at every length: what was whole
// before the cut is there, and the ledger can be used. Nothing is set aside but
// a file whose header was cut.
func TestLedgerTornAtEveryByte(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	for _, nonce := range []string{"a", "b", "c"} {
		put(t, l, ledger.Entry{Nonce: nonce, Stage: ledger.Minted, Info: pat.Info{ID: "id-" + nonce}})
	}
	instance := l.Instance()
	l.Close()
	whole, err := os.ReadFile(file(dir))
	if err != nil {
		t.Fatal(err)
	}
	for cut := range len(whole) {
		torn := t.TempDir()
		if err := os.WriteFile(file(torn), whole[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		l := open(t, torn)
		lines := bytes.Count(whole[:cut], []byte{'\n'})
		headless := cut < bytes.IndexByte(whole, '\n')
		if got := len(l.Pending()); got != max(lines-1, 0) || l.Incomplete() != headless {
			t.Fatalf("cut at %d: %d entries, salvaged %v", cut, got, l.Incomplete())
		}
		if !headless && l.Instance() != instance {
			t.Fatalf("cut at %d: the instance is lost", cut)
		}
		put(t, l, ledger.Entry{Nonce: "d", Stage: ledger.Minted})
		l.Close()
		if got := open(t, torn).Pending(); got[len(got)-1].Nonce != "d" {
			t.Fatalf("cut at %d: what was put after it is lost: %v", cut, got)
		}
	}
}

// TestLedgerRotten flips each byte: the other lines are kept, and the file is
// set aside unless it was its last line that rotted.
func TestLedgerRotten(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	for _, nonce := range []string{"a", "b", "c"} {
		put(t, l, ledger.Entry{Nonce: nonce, Stage: ledger.Minted, Info: pat.Info{ID: "id-" + nonce}})
	}
	l.Close()
	whole, err := os.ReadFile(file(dir))
	if err != nil {
		t.Fatal(err)
	}
	for i := range whole {
		rotten := bytes.Clone(whole)
		rotten[i] ^= 0x04
		dir := t.TempDir()
		if err := os.WriteFile(file(dir), rotten, 0o600); err != nil {
			t.Fatal(err)
		}
		l := open(t, dir)
		if got := len(l.Pending()); got < 1 {
			t.Fatalf("byte %d: %d entries of 3 are left", i, got)
		}
		for _, e := range l.Pending() {
			if e.ID != "id-"+e.Nonce {
				t.Fatalf("byte %d: rot was believed: %+v", i, e)
			}
		}
		aside, err := filepath.Glob(file(dir) + ".corrupt-*")
		if err != nil {
			t.Fatal(err)
		}
		if inLast := i == len(whole)-1; len(aside) == 0 && !inLast || l.Incomplete() != (len(aside) > 0) {
			t.Fatalf("byte %d: aside %v, salvaged %v", i, aside, l.Incomplete())
		}
		l.Close()
	}
}

func TestLedgerOfAnotherKind(t *testing.T) {
	for _, content := range []string{"", "\x00\x00\x00\x00", "not a ledger\nat all\n", "{}\n", "\n\n", "00000000 {}\n"} {
		dir := t.TempDir()
		if err := os.WriteFile(file(dir), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		var logged bytes.Buffer
		l, err := ledger.Open(ledger.Config{Dir: dir, Log: slog.New(slog.NewTextHandler(&logged, nil))})
		if err != nil {
			t.Fatalf("%q: %v", content, err)
		}
		if !l.Incomplete() || !strings.Contains(logged.String(), "set aside") {
			t.Errorf("%q: nobody was told", content)
		}
		put(t, l, ledger.Entry{Nonce: "n", Stage: ledger.Minted})
		l.Close()
		if got := stages(open(t, dir)); len(got) != 1 {
			t.Errorf("%q: %v", content, got)
		}
	}
}

func TestLedgerIsADirectory(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(file(dir), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := ledger.Open(ledger.Config{Dir: dir}); err == nil || !strings.Contains(err.Error(), file(dir)) {
		t.Errorf("Open = %v", err)
	}
	if err := os.Remove(file(dir)); err != nil {
		t.Fatal(err)
	}
	open(t, dir) // the lock of the Open that failed is gone
}

// TestLedgerForgets compacts: ended tokens go after 90 days, pending ones
// never do, and the file doesn't grow with the steps taken.
func TestLedgerForgets(t *testing.T) {
	dir := t.TempDir()
	now := time.Now()
	cfg := ledger.Config{Dir: dir, Now: func() time.Time { return now }}
	l, err := ledger.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	put(t, l, ledger.Entry{Nonce: "old", Stage: ledger.Revoked, Hash: "old"})
	put(t, l, ledger.Entry{Nonce: "pending", Stage: ledger.Retiring, Hash: "pending"})
	now = now.Add(89 * 24 * time.Hour)
	put(t, l, ledger.Entry{Nonce: "new", Stage: ledger.Revoked, Hash: "new"})
	l.Close()
	now = now.Add(2 * 24 * time.Hour)
	if l, err = ledger.Open(cfg); err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if l.Knows("old") || !l.Knows("new") || !l.Knows("pending") {
		t.Errorf("knows old %v, new %v, pending %v", l.Knows("old"), l.Knows("new"), l.Knows("pending"))
	}
	size := func() int64 {
		info, err := os.Stat(file(dir))
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	small := size()
	for range 4200 {
		put(t, l, ledger.Entry{Nonce: "pending", Stage: ledger.Retiring, Hash: "pending"})
	}
	if got := size(); got > 200*small {
		t.Errorf("the file grew from %d to %d bytes", small, got)
	}
}

func TestRead(t *testing.T) {
	dir := t.TempDir()
	if instance, entries, err := ledger.Read(dir); instance != "" || entries != nil || err != nil {
		t.Errorf("nothing there: %q %v %v", instance, entries, err)
	}
	l := open(t, dir)
	put(t, l, ledger.Entry{Nonce: "a", Stage: ledger.Minted})
	put(t, l, ledger.Entry{Nonce: "a", Stage: ledger.Revoked})
	instance, entries, err := ledger.Read(dir)
	if err != nil || instance != l.Instance() || len(entries) != 1 || entries[0].Stage != ledger.Revoked {
		t.Errorf("while another has it open: %q %v %v", instance, entries, err)
	}
}

func FuzzLedger(f *testing.F) {
	dir := f.TempDir()
	l, err := ledger.Open(ledger.Config{Dir: dir, Instance: "i"})
	if err != nil {
		f.Fatal(err)
	}
	_ = l.Put(ledger.Entry{Nonce: "a", Stage: ledger.Minted, Hash: "h"})
	_ = l.Put(ledger.Entry{Nonce: "a", Stage: ledger.Retiring, Hash: "h"})
	l.Close()
	seed, err := os.ReadFile(file(dir))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Add(seed[:len(seed)-3])
	f.Add([]byte("00000000 null\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		dir := t.TempDir()
		if err := os.WriteFile(file(dir), content, 0o600); err != nil {
			t.Fatal(err)
		}
		l := open(t, dir)
		before, salvaged, instance := l.Pending(), l.Incomplete(), l.Instance()
		put(t, l, ledger.Entry{Nonce: "fuzz", Stage: ledger.Minted})
		l.Close()
		again := open(t, dir)
		if got := again.Pending(); again.Incomplete() != salvaged || again.Instance() != instance || len(got) < len(before) {
			t.Errorf("the second start reads %v (salvaged %v, of %q), the first %v (%v, %q)", got, again.Incomplete(), again.Instance(), before, salvaged, instance)
		}
	})
}
