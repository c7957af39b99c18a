package credwriter

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"patrol/rotator/pat"
)

const (
	host     = "https://dbc-1.cloud.databricks.com"
	oldValue = "dapi0ld0ld0ld0ld0ld0ld0ld0ld0ld0ld"
	newValue = "dapinewnewnewnewnewnewnewnewnewnew-2"
)

var newToken = pat.New(newValue, host)

// owner knows the old and the new token, and more of them.
func owner(more ...string) Owner {
	known := append([]string{oldValue, newValue}, more...)
	return Owner{
		Host:     host,
		ProxyURL: "http://127.0.0.1:4000",
		Ours: func(hash string) bool {
			return slices.ContainsFunc(known, func(v string) bool { return pat.Hash(v) == hash })
		},
	}
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

// file is what all three are.
type file interface {
	Name() string
	Path() string
	Check() error
	Write(t pat.Token) (left []string, err error)
	Holds(hash string) (bool, error)
}

var (
	_ file = (*Databrickscfg)(nil)
	_ file = (*Claude)(nil)
	_ file = (*OpenCode)(nil)
)

// edit is a row of a table: Write makes out of in, and a second one nothing.
type edit struct {
	name    string
	in, out string // out "": the file stays as it is
	left    string // in what was left alone; "" if nothing was
	err     string // in the error; "" for none
}

// run checks a row. The file that open returns is at the given path.
func (e edit) run(t *testing.T, name string, open func(path string) file) {
	t.Helper()
	path := put(t, name, e.in)
	f := open(path)
	want := e.out
	if want == "" {
		want = e.in
	}
	if err := f.Check(); (err != nil) != (e.err != "") {
		t.Errorf("Check: %v", err)
	}
	if got := get(t, path); got != e.in {
		t.Errorf("Check changed the file to\n%s", got)
	}
	left, err := f.Write(newToken)
	switch {
	case e.err == "" && err != nil:
		t.Fatalf("Write: %v", err)
	case e.err != "" && (err == nil || !strings.Contains(err.Error(), e.err) || !strings.Contains(err.Error(), path)):
		t.Fatalf("Write: %v, want it to name the file and say %q", err, e.err)
	case err != nil && (strings.Contains(err.Error(), oldValue) || strings.Contains(err.Error(), newValue)):
		t.Fatalf("a token is in the error: %v", err)
	}
	if got := get(t, path); got != want {
		t.Errorf("the file is\n%q, want\n%q", got, want)
	}
	said := strings.Join(left, "\n")
	if (e.left == "") != (said == "") || !strings.Contains(said, e.left) || strings.Contains(said, oldValue) {
		t.Errorf("left alone: %q, want %q", said, e.left)
	}
	if err == nil {
		e.again(t, f, said)
	}
	if names, _ := filepath.Glob(filepath.Join(filepath.Dir(path), "*")); len(names) > 1 {
		t.Errorf("files were left behind: %v", names)
	}
}

// again checks that a second Write finds nothing to do.
func (e edit) again(t *testing.T, f file, said string) {
	t.Helper()
	before, err := os.Stat(f.Path())
	if err != nil {
		t.Fatal(err)
	}
	left, err := f.Write(newToken)
	if err != nil || strings.Join(left, "\n") != said {
		t.Errorf("the second Write: %q, %v; the first left %q alone", left, err, said)
	}
	after, err := os.Stat(f.Path())
	if err != nil || !os.SameFile(before, after) || !before.ModTime().Equal(after.ModTime()) {
		t.Errorf("the second Write wrote the file again (%v)", err)
	}
}
