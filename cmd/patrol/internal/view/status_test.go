package view

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"patrol/cmd/patrol/internal/cli"
	"patrol/cmd/patrol/internal/control"
	"patrol/proxy"
	"patrol/rotator"
)

// Nothing is called written that never was.
func TestPrintFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		file rotator.FileInfo
		want string
	}{
		{rotator.FileInfo{Path: path}, "not written yet"},
		{rotator.FileInfo{Path: path, Written: time.Now()}, "written"},
		{rotator.FileInfo{Path: path, Written: time.Now(), Error: "disk full"}, "NOT WRITTEN: disk full"},
		{rotator.FileInfo{Path: path + ".missing"}, "not there, left out"},
	}
	for _, tt := range tests {
		var out strings.Builder
		table := cli.NewTable(&out)
		failed := printFiles(table, "", []rotator.FileInfo{tt.file})
		_ = table.Flush()
		if !strings.HasSuffix(out.String(), "  "+tt.want+"\n") || (failed > 0) != (tt.file.Error != "") {
			t.Errorf("%+v: %q, %d failed; want %q", tt.file, out.String(), failed, tt.want)
		}
	}
}

func TestPrintProxy(t *testing.T) {
	p := &control.Proxy{Stats: proxy.Stats{Requests: 7}, Refused: map[string]uint64{"origin": 2, "host": 1, "full": 0}}
	if got, want := requests(p), "7 since the start; turned away: 1 (host), 2 (origin)"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	p.Unkept, p.NoToken, p.Failed = 3, 2, 1
	if got, want := requests(p), "7 since the start; 2 answered 503, for lack of a token that works; 1 answered 502, for lack of an answer from upstream; 3 passed on without filter and replay, for lack of memory; turned away: 1 (host), 2 (origin)"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got, want := requests(new(control.Proxy)), "0 since the start"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestWaiting(t *testing.T) {
	for want, old := range map[string]rotator.RetiringInfo{
		"waits for requests that carry it":               {Waits: "requests that carry it"},
		"not revoked yet: revoking token 1f: no answer":  {Error: "revoking token 1f: no answer"},
		"not revoked yet: revoking token dapi…: refused": {Error: "revoking token dapi0123456789: refused"},
	} {
		if got := waiting(old); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
