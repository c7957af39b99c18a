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
		resp, err := (&guarded{c}).RoundTrip(r)
		if err == nil {
			_ = resp.Body.Close()
		}
		return err
	}
	const url = "https://w.example/api/2.0/token/list"
	for name, test := range map[string]struct {
		x   *exchange
		url string
	}{
		"without a session": {nil, url},
		"another host":      {&exchange{}, "https://elsewhere.example/api/2.0/token/list"},
		"without TLS":       {&exchange{}, "http://w.example/api/2.0/token/list"},
		"another port":      {&exchange{}, "https://w.example:444/api/2.0/token/list"},
	} {
		if err := send(test.x, test.url); asFailure(err) == nil || !asFailure(err).void {
			t.Errorf("%s: %v", name, err)
		}
	}
	x := &exchange{}
	if err := send(x, url); err != nil {
		t.Errorf("the first attempt: %v", err)
	}
	if err := send(x, url); asFailure(err) == nil {
		t.Errorf("the second attempt: %v", err)
	}
	if n := len(w.Requests()); n != 1 {
		t.Errorf("%d requests came through", n)
	}
}
