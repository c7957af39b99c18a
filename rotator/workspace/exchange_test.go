package workspace

import (
	"net/http"
	"testing"

	"patrol/rotator/workspacetest"
)

// What the SDK, as it is set up, doesn't do: should a later one do it, the
// transport stands in the way.
func TestGuardedTransport(t *testing.T) {
	w := workspacetest.New(workspacetest.Config{})
	c, err := New(Config{Host: "https://w.example", Transport: w.Transport()})
	if err != nil {
		t.Fatal(err)
	}
	send := func(x *exchange, url string) error {
		ctx := t.Context()
		if x != nil {
			ctx = x.context(ctx)
		}
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := guarded{c}.RoundTrip(r)
		if err == nil {
			_ = resp.Body.Close()
		}
		return err
	}
	const url = "https://w.example/api/2.0/token/list"
	if err := send(nil, url); err == nil || len(w.Requests()) != 0 {
		t.Errorf("without a session: %v", err)
	}
	x := &exchange{}
	_ = send(x, url) // without a token: it is refused
	if err := send(x, url); err == nil || len(w.Requests()) != 1 {
		t.Errorf("the second attempt: %v, after %d requests", err, len(w.Requests()))
	}
	for _, url := range []string{"https://elsewhere.example/x", "http://w.example/x", "https://w.example:444/x", "/x"} {
		_ = send(&exchange{}, url) // an API that isn't there
		all := w.Requests()
		if last := all[len(all)-1]; last.Host != "w.example" || last.Path != "/x" {
			t.Errorf("%s leads to %s%s", url, last.Host, last.Path)
		}
	}
}
