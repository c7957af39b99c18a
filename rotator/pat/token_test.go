package pat_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"patrol/rotator/pat"
)

const canary = "dapi-canary-0123456789"

func TestTokenPrintsNoValue(t *testing.T) {
	tok := pat.New(canary, "https://w.example")
	tok.ID = "0123456789abcdef0123"
	type holder struct {
		Public pat.Token
		hidden pat.Token
		list   []pat.Token
		byID   map[string]pat.Token
		ref    *pat.Token
	}
	h := holder{tok, tok, []pat.Token{tok}, map[string]pat.Token{"x": tok}, &tok}
	var out strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%p", "%10s"} {
		for _, v := range []any{tok, &tok, h, &h, []holder{h}, fmt.Errorf("minting %v: %w", tok, errors.New("x"))} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
	}
	var logs bytes.Buffer
	for _, handler := range []slog.Handler{slog.NewTextHandler(&logs, nil), slog.NewJSONHandler(&logs, nil)} {
		slog.New(handler).Info("m", "token", tok, "ref", &tok, "holder", h, "ptr", &h)
	}
	js, err := json.Marshal(struct {
		T pat.Token
		H holder
		M map[string]pat.Token
	}{tok, h, h.byID})
	if err != nil {
		t.Fatal(err)
	}
	all := out.String() + logs.String() + string(js)
	for _, form := range []string{canary, fmt.Sprintf("%x", canary), fmt.Sprintf("%X", canary), fmt.Sprintf("%d", []byte(canary))} {
		if strings.Contains(all, form) {
			t.Fatalf("the value got out:\n%s", all)
		}
	}
	if !strings.Contains(all, "PAT 0123456789ab…") {
		t.Fatalf("the id is nowhere:\n%s", all)
	}
}

func TestTokenZero(t *testing.T) {
	var zero pat.Token
	if !zero.IsZero() || zero.Expose() != "" || zero.Hash() != "" || zero.String() != "no PAT" {
		t.Errorf("zero token: %v %q %q", zero.IsZero(), zero.Hash(), zero)
	}
	if empty := pat.New("", "https://w.example"); !empty.IsZero() {
		t.Error("a token without a value isn't zero")
	}
	if got := pat.New("x", "h").String(); got != "PAT (id unknown)" {
		t.Errorf("a token without id prints %q", got)
	}
}

func TestTokenHash(t *testing.T) {
	// printf abc | sha256sum
	const want = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
	if got := pat.New("abc", "h").Hash(); got != want {
		t.Errorf("Hash() = %s, want %s", got, want)
	}
	if a, b := pat.New("abc", "h"), pat.New("abc", "other"); !a.Same(b) || a.Same(pat.New("abd", "h")) {
		t.Error("Same doesn't compare the values")
	}
}

func TestTokenExpired(t *testing.T) {
	now := time.Now()
	tok := pat.New("x", "h")
	if tok.Expired(now.Add(1e6 * time.Hour)) {
		t.Error("a token without expiry expired")
	}
	tok.Expiry = now
	if !tok.Expired(now) || tok.Expired(now.Add(-time.Nanosecond)) {
		t.Error("a token is valid until its expiry and not at it")
	}
}

func TestPublish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ch := make(chan pat.Handover)
		release := make(chan struct{})
		go func() {
			h := <-ch
			<-release
			close(h.Installed)
			close(h.Drained)
		}()
		returned := make(chan error, 1)
		go func() {
			drained, err := pat.Publish(t.Context(), ch, pat.New("x", "h"))
			if err == nil {
				<-drained
			}
			returned <- err
		}()
		synctest.Wait()
		select {
		case err := <-returned:
			t.Fatalf("Publish returned before the token was installed: %v", err)
		default:
		}
		close(release)
		if err := <-returned; err != nil {
			t.Fatal(err)
		}
	})
}

func TestPublishGivesUp(t *testing.T) {
	why := errors.New("why")
	synctest.Test(t, func(t *testing.T) {
		for _, received := range []bool{false, true} {
			ctx, cancel := context.WithCancelCause(t.Context())
			ch := make(chan pat.Handover)
			if received {
				go func() { <-ch }()
			}
			time.AfterFunc(time.Second, func() { cancel(why) })
			if _, err := pat.Publish(ctx, ch, pat.New("x", "h")); !errors.Is(err, why) {
				t.Errorf("received %v: Publish = %v, want %v", received, err, why)
			}
		}
	})
}
