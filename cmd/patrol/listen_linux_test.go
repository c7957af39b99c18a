package main

import (
	"net/http"
	"testing"

	"patrol/rotator/workspacetest"
)

// TestListenElsewhereOnLoopback: all of 127.0.0.0/8 is this machine on Linux,
// and who listens there is asked by that name.
func TestListenElsewhereOnLoopback(t *testing.T) {
	svc := newTestService(t, workspacetest.Config{})
	svc.start(t, "--listen", "127.0.0.2:0")
	url := "http://" + svc.listen[len(svc.listen)-1] + "/"
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("GET %s: %s", url, resp.Status)
	}
}
