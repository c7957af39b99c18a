package atomicfile

import (
	"bufio"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"patrol/rotator/processtest"
)

// files are those that are written: all but the last are there before.
var files = []string{".databrickscfg", "settings.json", "auth.json"}

const created = "auth.json"

// content is what a file becomes.
func content(name, value string) string { return "# " + name + "\ntoken = " + value + "\n" }

// editAll writes each file in a folder once.
func editAll(dir, value string) error {
	for _, name := range files {
		if _, err := Edit(filepath.Join(dir, name), to(content(name, value))); err != nil {
			return err
		}
	}
	return nil
}

// writeForEver writes one token after the other, until it is killed. The last
// file it takes away each time, so that it is made anew.
func writeForEver(args []string) int {
	fmt.Println("ready")
	for i := 0; ; i++ {
		if err := editAll(args[0], []string{"old", "new"}[i%2]); err != nil {
			fmt.Println(err)
			return 1
		}
		_ = os.Remove(filepath.Join(args[0], created))
	}
}

// TestKill kills a process that writes, again and again. Every file is whole
// at every instant, and what was left behind goes with the next write.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	if err := editAll(dir, "old"); err != nil {
		t.Fatal(err)
	}
	const rounds = 15
	left := 0
	for range rounds {
		killed(t, dir)
		for _, name := range files {
			b, err := os.ReadFile(filepath.Join(dir, name))
			if os.IsNotExist(err) && name == created {
				continue
			}
			if s := string(b); err != nil || s != content(name, "old") && s != content(name, "new") {
				t.Fatalf("%s is torn: %q, %v", name, s, err)
			}
		}
		leftovers, _ := filepath.Glob(filepath.Join(dir, ".*.patrol-*"))
		left += len(leftovers)
		if err := errors.Join(editAll(dir, "old"), editAll(dir, "new")); err != nil { // one of them writes
			t.Fatal(err)
		}
		if entries, err := os.ReadDir(dir); err != nil || len(entries) != len(files) {
			t.Fatalf("after the next write there are %v (%v)", entries, err)
		}
	}
	t.Logf("%d kills left %d temporary files", rounds, left)
	if left == 0 {
		t.Error("no kill hit a write: this test shows nothing")
	}
}

// killed runs a writer and kills it some moments later.
func killed(t *testing.T, dir string) {
	t.Helper()
	cmd := processtest.Command("write", dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	said := bufio.NewScanner(out)
	if !said.Scan() || said.Text() != "ready" {
		t.Fatalf("the writer said %q", said.Text())
	}
	time.Sleep(rand.N(20 * time.Millisecond))
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if said.Scan() {
		t.Errorf("the writer failed: %s", said.Text())
	}
	_ = cmd.Wait() // it was killed
}

// writeOnce writes each file once.
func writeOnce(args []string) int {
	if err := editAll(args[0], "new"); err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}
