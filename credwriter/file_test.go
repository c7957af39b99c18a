package credwriter

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"patrol/rotator/pat"
)

// files returns a file of each format in a folder, made where it is missing.
func files(dir string) []*File {
	return []*File{
		NewDatabrickscfg(filepath.Join(dir, ".databrickscfg"), "DEFAULT", owner()),
		NewClaude(filepath.Join(dir, "settings.json"), true, owner()),
		NewOpenCode(filepath.Join(dir, "auth.json"), nil, true, owner()),
		NewDotenv(filepath.Join(dir, ".env"), "TOKEN", owner()),
		NewTokenFile(filepath.Join(dir, "token"), owner()),
	}
}

// isIn reports whether a token is in a file, and fails if that can't be told.
func isIn(t *testing.T, f *File, value string) bool {
	t.Helper()
	holds, err := f.Holds(pat.Hash(value))
	if err != nil {
		t.Fatal(err)
	}
	return holds
}

// TestFile goes a file's whole way: it is checked, made, written again, and the
// token is taken out.
func TestFile(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "not", "yet")
	for _, f := range files(dir) {
		if err := f.Check(); err != nil {
			t.Fatal(err)
		}
		if cleared, left, err := f.Clear(goneOld); cleared || left != nil || err != nil {
			t.Errorf("%s: Clear without a file: %v, %q, %v", f.Name(), cleared, left, err)
		}
		if left, err := f.Left(); left != nil || err != nil {
			t.Errorf("%s: Left without a file: %q, %v", f.Name(), left, err)
		}
		if _, err := os.Stat(f.Path()); err == nil || isIn(t, f, newValue) {
			t.Errorf("%s was made by who asked", f.Name())
		}
		if f.Name() == "claude" { // what is made anew gets a client key, and no token
			if err := os.WriteFile(f.Path(), []byte(`{"env":{"ANTHROPIC_BASE_URL":"`+host+`"}}`), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		for _, value := range []string{oldValue, newValue, newValue, oldValue} {
			before, _ := os.Stat(f.Path())
			was := before != nil && isIn(t, f, value)
			if left, err := f.Write(pat.New(value, host), nil); left != nil || err != nil {
				t.Errorf("%s: Write: %q, %v", f.Name(), left, err)
			}
			after, err := os.Stat(f.Path())
			if err != nil || !isIn(t, f, value) || before != nil && os.SameFile(before, after) != was {
				t.Errorf("%s: it wasn't written once (%v)", f.Name(), err)
			}
			if runtime.GOOS != "windows" && after.Mode() != 0o600 {
				t.Errorf("%s has mode %v", f.Name(), after.Mode())
			}
		}
		for round := range 2 {
			cleared, left, err := f.Clear(goneOld)
			if cleared != (round == 0) || left != nil || err != nil || isIn(t, f, oldValue) {
				t.Errorf("%s: Clear %d: %v, %q, %v", f.Name(), round, cleared, left, err)
			}
		}
	}
	if info, err := os.Stat(dir); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o700 {
		t.Errorf("the folder: %v %v, want mode 0700", info.Mode(), err)
	}
}

// TestFileThatIsBroken: each method names the file, and leaves it as it is.
func TestFileThatIsBroken(t *testing.T) {
	dir := t.TempDir()
	for _, f := range files(dir) {
		if f.Name() == "file" {
			continue // which may hold anything
		}
		const text = "[{ \x00" + oldValue
		if err := os.WriteFile(f.Path(), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, writeErr := f.Write(newToken, nil)
		_, holdsErr := f.Holds("x")
		_, leftErr := f.Left()
		_, _, clearErr := f.Clear(goneOld)
		for name, err := range map[string]error{"Check": f.Check(), "Write": writeErr, "Holds": holdsErr, "Left": leftErr, "Clear": clearErr} {
			if err == nil || !strings.Contains(err.Error(), f.Path()) || strings.Contains(err.Error(), oldValue) {
				t.Errorf("%s of %s: %v", name, f.Name(), err)
			}
		}
		if get(t, f.Path()) != text {
			t.Errorf("%s was changed", f.Name())
		}
	}
}

// TestFileNamesWhatItLeft: with the file's path, from Write, Left and Clear.
func TestFileNamesWhatItLeft(t *testing.T) {
	path := put(t, "auth.json", `{"databricks":{"type":"api","key":"x"}}`)
	f := NewOpenCode(path, nil, false, owner())
	written, err := f.Write(newToken, nil)
	if err != nil {
		t.Fatal(err)
	}
	left, err := f.Left()
	if err != nil {
		t.Fatal(err)
	}
	_, cleared, err := f.Clear(goneOld)
	if err != nil {
		t.Fatal(err)
	}
	for i, got := range [][]string{written, left, cleared} {
		if len(got) != 1 || !strings.HasPrefix(got[0], path+": the key of databricks isn't ") {
			t.Errorf("%d: %q", i, got)
		}
	}
}

// TestMissingAgentFile: without create, it is nothing to do.
func TestMissingAgentFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "none", "file.json")
	for _, f := range []*File{NewClaude(path, false, owner()), NewOpenCode(path, nil, false, owner())} {
		if left, err := f.Write(newToken, nil); err != nil || left != nil {
			t.Errorf("%s: Write: %q, %v", f.Name(), left, err)
		}
		if err := f.Check(); err != nil {
			t.Errorf("%s: Check: %v", f.Name(), err)
		}
		if _, err := os.Stat(filepath.Dir(path)); err == nil || isIn(t, f, newValue) {
			t.Errorf("%s made a folder", f.Name())
		}
	}
}

func TestTokensThatAreNotWritten(t *testing.T) {
	path := put(t, ".databrickscfg", "")
	f := NewDatabrickscfg(path, "DEFAULT", owner())
	for value, from := range map[string]string{
		"":           host,
		"dapi1":      "https://dbc-2.cloud.databricks.com",
		"dapi2":      "",
		"dapi 3":     host,
		"dapi\n[x]":  host,
		"\"dapi4\"":  host,
		"dapi#5":     host,
		"dapi%6":     host,
		"dapi7\\":    host,
		"dapi\u00e4": host,
	} {
		if _, err := f.Write(pat.New(value, from), nil); err == nil || value != "" && strings.Contains(err.Error(), value) {
			t.Errorf("Write(%q of %q): %v", value, from, err)
		}
	}
	if got := get(t, path); got != "" {
		t.Errorf("written: %q", got)
	}
	if _, err := f.Write(pat.New(`dapi\1`, host+"/"), nil); err != nil {
		t.Errorf("a backslash inside: %v", err)
	}
}

// BenchmarkWrite measures a whole write of each file, disk included, and one
// that finds nothing to do.
func BenchmarkWrite(b *testing.B) {
	for _, f := range files(b.TempDir()) {
		b.Run(f.Name(), func(b *testing.B) {
			for i := 0; b.Loop(); i++ {
				if _, err := f.Write(pat.New([]string{oldValue, newValue}[i%2], host), nil); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(f.Name()+"/nothing", func(b *testing.B) {
			for b.Loop() {
				if _, err := f.Write(newToken, nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
