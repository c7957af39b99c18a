package main

import (
	"strings"
	"testing"
	"time"

	"patrol/rotator"
)

// Nothing is called written that never was.
func TestPrintFiles(t *testing.T) {
	a := newApp(t)
	path := a.write(t, "file", "")
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
		failed := printFiles(&out, "", []fileStatus{tt.file})
		if !strings.HasSuffix(out.String(), "\t"+tt.want+"\n") || (failed > 0) != (tt.file.Error != "") {
			t.Errorf("%+v: %q, %d failed; want %q", tt.file, out.String(), failed, tt.want)
		}
	}
}

func TestPrintProxy(t *testing.T) {
	p := &proxyStatus{Requests: 7, Refused: map[string]uint64{"origin": 2, "host": 1, "full": 0}}
	if got, want := p.String(), "7 since the start; turned away: 1 (host), 2 (origin)"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	p.Unkept, p.NoToken, p.Failed = 3, 2, 1
	if got, want := p.String(), "7 since the start; 2 answered 503, for lack of a token that works; 1 answered 502, for lack of an answer from upstream; 3 passed on without filter and replay, for lack of memory; turned away: 1 (host), 2 (origin)"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got, want := new(proxyStatus).String(), "0 since the start"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestWaiting(t *testing.T) {
	for want, old := range map[string]retiring{
		"waits for requests that carry it":               {Waits: "requests that carry it"},
		"not revoked yet: revoking token 1f: no answer":  {Error: "revoking token 1f: no answer"},
		"not revoked yet: revoking token dapi…: refused": {Error: "revoking token dapi0123456789: refused"},
	} {
		if got := waiting(old); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestProblems(t *testing.T) {
	for name, r := range map[string]rotator.Status{
		"no token":  {Problem: "patrol login"},
		"rotation":  {Ready: true, Last: rotator.RotationStatus{Error: "no network"}},
		"file":      {Ready: true, Files: []fileStatus{{Path: "a"}, {Path: "b", Error: "disk full"}}},
		"ledger":    {Ready: true, Ledger: "disk full"},
		"same word": {Problem: "dead", Last: rotator.RotationStatus{Error: "dead"}},
	} {
		if got := (statusReport{Running: true, Status: r}).problems(); len(got) != 1 {
			t.Errorf("%s: %q", name, got)
		}
	}
	if got := (statusReport{Running: true, Status: rotator.Status{Ready: true, Files: []fileStatus{{Path: "a"}}}}).problems(); got != nil {
		t.Errorf("all is well: %q", got)
	}
}
