package workspacetest_test

import (
	"context"
	"fmt"
	"net/http"

	"patrol/rotator/workspacetest"
)

// A token works until it is revoked, and a fault strikes when it is told to.
func Example() {
	s, err := workspacetest.Start(workspacetest.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = s.Close() }()
	token := s.Issue(workspacetest.IssueOptions{User: "ann@example.com"})
	list := func() {
		req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, s.URL+"/api/2.0/token/list", nil)
		if err != nil {
			fmt.Println(err)
			return
		}
		req.Header.Set("Authorization", "Bearer "+token.Value)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			fmt.Println(err)
			return
		}
		_ = resp.Body.Close()
		fmt.Println(resp.StatusCode)
	}

	list()
	s.Inject(workspacetest.Fault{Path: "/api/2.0/token/*", Effect: workspacetest.Answer, Status: http.StatusServiceUnavailable})
	list()
	s.Revoke(token.ID)
	list()
	for _, r := range s.Requests() {
		fmt.Println(r.TokenID == token.ID, r.Valid, r.Status, r.Fault)
	}

	// Output:
	// 200
	// 503
	// 403
	// true true 200 false
	// true true 503 true
	// true false 403 false
}
