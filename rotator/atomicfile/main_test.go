package atomicfile

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"patrol/rotator/processtest"
)

func TestMain(m *testing.M) {
	processtest.Main(m, map[string]func([]string) int{"write": writeForEver, "once": writeOnce})
}

// put makes a file in a new folder.
func put(t testing.TB, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func get(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// to makes the file what it is given.
func to(content string) Func {
	return func([]byte, bool) ([]byte, error) { return []byte(content), nil }
}

// withOurs adds to the file what isn't there yet.
func withOurs(content []byte, _ bool) ([]byte, error) {
	const ours = " and ours"
	return append(bytes.TrimSuffix(bytes.Clone(content), []byte(ours)), ours...), nil
}

// operations are what the package does with a path.
func operations(path string) map[string]error {
	_, editErr := Edit(path, to("x"))
	_, _, readErr := Read(path)
	return map[string]error{"Edit": editErr, "DryRun": DryRun(path, to("x")), "Read": readErr}
}
