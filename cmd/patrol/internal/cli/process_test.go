package cli

import (
	"os"
	"path/filepath"
	"testing"
)

func TestHome(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, env := range []string{"X=", "HOME=", "HOME=relative", "HOME=/no/such/folder", "HOME=" + file} {
		_, err := Env{env}.Home()
		if hint := HintOf(err); err == nil || hint == "" {
			t.Errorf("%s: error %v, hint %q", env, err, hint)
		}
	}
}

func TestGetenvFirstCounts(t *testing.T) {
	env := Env{"odd", "X=1", "X=2", "XY=3"}
	if got := env.Get("X"); got != "1" {
		t.Errorf("X = %q, want the first, as getenv(3) has it", got)
	}
	if got := env.Get("odd"); got != "" {
		t.Errorf("odd = %q", got)
	}
}
