package credwriter

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"patrol/rotator/pat"
)

// noLinger keeps the race detector from waiting a second at each exit.
const noLinger = "GORACE=atexit_sleep_ms=0"

// three returns our three files in a folder.
func three(dir string) []file {
	return []file{
		NewDatabrickscfg(filepath.Join(dir, ".databrickscfg"), "DEFAULT", owner()),
		NewClaude(filepath.Join(dir, "settings.json"), true, owner()),
		NewOpenCode(filepath.Join(dir, "auth.json"), true, owner()),
	}
}

// writeForEver writes one token after the other, until it is killed. The last
// file it takes away each time, so that it is made anew.
func writeForEver(args []string) int {
	fmt.Println("ready")
	for i := 0; ; i++ {
		value := []string{oldValue, newValue}[i%2]
		for _, f := range three(args[0]) {
			if _, err := f.Write(pat.New(value, host)); err != nil {
				fmt.Println(err)
				return 1
			}
			if f.Name() == "opencode" {
				_ = os.Remove(f.Path())
			}
		}
	}
}

// TestKill kills a process that writes, again and again. Every file is whole
// at every instant, and what was left behind goes with the next write.
func TestKill(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	whole := map[string][]string{}
	for _, value := range []string{oldValue, newValue} {
		for _, f := range three(dir) {
			if _, err := f.Write(pat.New(value, host)); err != nil {
				t.Fatal(err)
			}
			whole[f.Name()] = append(whole[f.Name()], get(t, f.Path()))
		}
	}
	const rounds = 15
	left := 0
	for range rounds {
		killed(t, exe, dir)
		for _, f := range three(dir) {
			content, err := os.ReadFile(f.Path())
			if os.IsNotExist(err) && f.Name() == "opencode" {
				continue
			}
			if s := string(content); err != nil || s != whole[f.Name()][0] && s != whole[f.Name()][1] {
				t.Fatalf("%s is torn: %q, %v", f.Name(), s, err)
			}
		}
		leftovers, _ := filepath.Glob(filepath.Join(dir, ".*.patrol-*"))
		left += len(leftovers)
		for _, f := range three(dir) { // two values, so that both are written
			for _, value := range []string{oldValue, newValue} {
				if _, err := f.Write(pat.New(value, host)); err != nil {
					t.Fatal(err)
				}
			}
		}
		if entries, err := os.ReadDir(dir); err != nil || len(entries) != 3 {
			t.Fatalf("after the next write there are %v (%v)", entries, err)
		}
	}
	t.Logf("%d kills left %d temporary files", rounds, left)
	if left == 0 {
		t.Error("no kill hit a write: this test shows nothing")
	}
}

// killed runs a writer and kills it some moments later.
func killed(t *testing.T, exe, dir string) {
	t.Helper()
	cmd := exec.Command(exe, dir)
	cmd.Env = append(os.Environ(), "CREDWRITER_TEST_ROLE=write", noLinger)
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
	for _, f := range three(args[0]) {
		if _, err := f.Write(newToken); err != nil {
			fmt.Println(err)
			return 1
		}
	}
	return 0
}
