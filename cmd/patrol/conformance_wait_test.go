//go:build unix

package main

import (
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

func waitRows() []row {
	return []row{
		{name: "a request waits while there is no token", run: showWaiting},
		{name: "after --wait it gets 503 with Retry-After, in its agent's form", run: showWaitedInVain},
	}
}

func showWaiting(t *testing.T, f *fixture) {
	own := f.with(t, settings{signedOut: true})
	answered := make(chan outcome, 3)
	for range cap(answered) {
		go func() { answered <- own.ask(t, http.MethodPost, "/v1/messages", question) }()
	}
	await(t, func() bool { return own.waited(t) == uint64(cap(answered)) })
	select {
	case got := <-answered:
		t.Fatalf("answered without a token: %d %s", got.StatusCode, got.body)
	default:
	}
	own.login(t)
	for range cap(answered) {
		if got := <-answered; got.StatusCode != http.StatusOK {
			t.Errorf("%d %s", got.StatusCode, got.body)
		}
	}
}

func showWaitedInVain(t *testing.T, f *fixture) {
	const wait = 150 * time.Millisecond
	own := f.with(t, settings{signedOut: true, wait: wait, allowAPI: true})
	kinds := map[api]string{openAI: "server_error", anthropic: "api_error", gemini: "UNAVAILABLE"}
	var asking sync.WaitGroup
	for path, form := range apiOf {
		asking.Go(func() {
			before := time.Now()
			got := own.ask(t, http.MethodPost, path, question)
			if took := time.Since(before); got.StatusCode != http.StatusServiceUnavailable || took < wait {
				t.Errorf("%s: %d %s after %v", path, got.StatusCode, got.body, took)
			}
			if seconds, err := strconv.Atoi(got.Header.Get("Retry-After")); err != nil || seconds < 1 {
				t.Errorf("%s: Retry-After %q", path, got.Header.Get("Retry-After"))
			}
			text, kind := got.message(t, form)
			if want := kinds[form]; !strings.Contains(text, "patrol login") || want != "" && kind != want {
				t.Errorf("%s: its agent reads %q, %q of %s", path, kind, text, got.body)
			}
		})
	}
	asking.Wait()
	own.arrived(t, 0)
}
