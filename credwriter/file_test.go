package credwriter

import (
	"path/filepath"
	"testing"

	"patrol/rotator/pat"
)

// three returns our three files in a folder.
func three(dir string) []file {
	return []file{
		NewDatabrickscfg(filepath.Join(dir, ".databrickscfg"), "DEFAULT", owner()),
		NewClaude(filepath.Join(dir, "settings.json"), true, owner()),
		NewOpenCode(filepath.Join(dir, "auth.json"), true, owner()),
	}
}

// BenchmarkWrite measures a whole write of each file, disk included, and one
// that finds nothing to do.
func BenchmarkWrite(b *testing.B) {
	for _, f := range three(b.TempDir()) {
		b.Run(f.Name(), func(b *testing.B) {
			for i := 0; b.Loop(); i++ {
				if _, err := f.Write(pat.New([]string{oldValue, newValue}[i%2], host)); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(f.Name()+"/nothing", func(b *testing.B) {
			for b.Loop() {
				if _, err := f.Write(newToken); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
