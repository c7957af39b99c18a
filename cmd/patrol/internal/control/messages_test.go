package control

import (
	"testing"

	"patrol/rotator"
)

func TestProblems(t *testing.T) {
	for name, r := range map[string]rotator.Status{
		"no token":  {Problem: "patrol login"},
		"rotation":  {Ready: true, Last: rotator.RotationStatus{Error: "no network"}},
		"file":      {Ready: true, Files: []rotator.FileInfo{{Path: "a"}, {Path: "b", Error: "disk full"}}},
		"ledger":    {Ready: true, Ledger: "disk full"},
		"same word": {Problem: "dead", Last: rotator.RotationStatus{Error: "dead"}},
	} {
		if got := (Status{Running: true, Status: r}).Problems(); len(got) != 1 {
			t.Errorf("%s: %q", name, got)
		}
	}
	if got := (Status{Running: true, Status: rotator.Status{Ready: true, Files: []rotator.FileInfo{{Path: "a"}}}}).Problems(); got != nil {
		t.Errorf("all is well: %q", got)
	}
}
