package rotator_test

import (
	"fmt"
	"net/http"
	"os"
	"testing"
	"time"

	"patrol/rotator/pat"
	"patrol/rotator/workspacetest"
)

const userC = "c@example.com"

// bring makes a token of a user, as a person does who wants it used.
func (h *house) bring(user string) workspacetest.Token {
	return h.ws.Issue(workspacetest.IssueOptions{User: user, Lifetime: 24 * time.Hour})
}

// wantUser checks that all that is left is one token of this user.
func (h *house) wantUser(user string) {
	h.Helper()
	h.pass(h.grace + 15*time.Minute)
	if tok := h.wantOne(); tok.User != user {
		h.Errorf("the token in use is %s's, want one of %s, who brought one last:\n%s", tok.User, user, h.story())
	}
}

// TestPasteDuringRotation: a person puts another user's token into the profile
// while a rotation is under way. It is used, and not what the rotation minted.
func TestPasteDuringRotation(t *testing.T) {
	for name, fault := range map[string]workspacetest.Fault{
		"before the mint": {Path: createPath, Delay: 5 * time.Second},
		"after the mint":  {Path: createPath, Delay: 5 * time.Second, After: true},
		"probe":           {Path: listPath, Delay: 5 * time.Second},
	} {
		for _, look := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, noticed %v", name, look), func(t *testing.T) {
				inHouse(t, func(h *house) {
					h.writeProfile(h.bring(userA).Value)
					h.serve()
					h.pass(10 * time.Minute)
					h.ws.Inject(fault)
					rotated := make(chan error, 1)
					go func() {
						_, err := h.r.Rotate(h.Context(), "asked")
						rotated <- err
					}()
					h.pass(time.Second)
					h.writeProfile(h.bring(userB).Value)
					if look {
						h.r.CheckProfile()
					}
					if err := <-rotated; err != nil {
						t.Log("Rotate: ", err)
					}
					h.wantUser(userB)
				})
			})
		}
	}
}

// slowly makes each call take a while.
func (h *house) slowly() {
	f := always("", workspacetest.Slow)
	f.Delay = 2 * time.Second
	h.ws.Inject(f)
}

// TestLoginDuringRotation: whenever a rotation begins while a login is under way, it
// is the login's token that is used in the end.
func TestLoginDuringRotation(t *testing.T) {
	for _, scopes := range [][]string{nil, {"token-management", "sql"}} { // with these nobody is told whose a token is
		for first := -6 * time.Second; first <= 8*time.Second; first += time.Second {
			t.Run(fmt.Sprintf("%v %v", scopes, first), func(t *testing.T) {
				inHouse(t, func(h *house) {
					boot := h.ws.Issue(workspacetest.IssueOptions{User: userA, Lifetime: 24 * time.Hour, Scopes: scopes})
					h.writeProfile(boot.Value)
					h.serve()
					h.pass(10 * time.Minute)
					h.slowly()
					rotated := make(chan error, 1)
					go func() {
						time.Sleep(max(first, 0))
						_, err := h.r.Rotate(h.Context(), "asked")
						rotated <- err
					}()
					time.Sleep(max(-first, 0))
					if _, err := h.r.Login(h.Context(), pat.New(h.bring(userB).Value, host)); err != nil {
						t.Error(err)
					}
					if err := <-rotated; err != nil {
						t.Log("Rotate: ", err)
					}
					h.wantUser(userB)
				})
			})
		}
	}
}

// TestPasteDuringLogin: a login replaces what stood in the profile when it was asked
// for, and not what somebody puts there while it is under way.
func TestPasteDuringLogin(t *testing.T) {
	for after := time.Second; after <= 9*time.Second; after += 2 * time.Second {
		t.Run(after.String(), func(t *testing.T) {
			inHouse(t, func(h *house) {
				h.writeProfile(h.bring(userA).Value)
				h.serve()
				h.pass(10 * time.Minute)
				h.slowly()
				done := make(chan error, 1)
				go func() {
					_, err := h.r.Login(h.Context(), pat.New(h.bring(userB).Value, host))
					done <- err
				}()
				h.pass(after)
				h.writeProfile(h.bring(userC).Value)
				if err := <-done; err != nil {
					t.Log("Login: ", err)
				}
				h.wantUser(userC)
			})
		})
	}
}

// TestPasteDuringOutage: nobody can say whether a token works that somebody has put
// into the profile. It is left there, the status names it, and neither the token in
// use nor the one before it is revoked. Once the workspace answers it is used; a
// login replaces it.
func TestPasteDuringOutage(t *testing.T) {
	for _, all := range []bool{true, false} { // of the workspace; else of what is asked about the new token
		for _, login := range []bool{false, true} {
			t.Run(fmt.Sprintf("all fails %v, login %v", all, login), func(t *testing.T) {
				inHouse(t, func(h *house) {
					h.writeProfile(h.bring(userA).Value)
					h.serve()
					h.pass(10 * time.Minute)
					if _, err := h.r.Rotate(h.Context(), "asked"); err != nil {
						t.Fatal(err)
					}
					before := h.live()
					if len(before) != 2 {
						t.Fatalf("%d tokens live, want the one in use and the one before it", len(before))
					}
					pasted := h.bring(userB)
					fails := always("", workspacetest.Reset)
					if !all {
						fails.Match = func(r *http.Request) bool { return r.Header.Get("Authorization") == "Bearer "+pasted.Value }
					}
					h.ws.Inject(fails)
					h.writeProfile(pasted.Value)
					h.r.CheckProfile()
					for range 12 {
						h.pass(5 * time.Minute)
						if h.profileToken() != pasted.Value {
							t.Fatalf("the token that was pasted is gone from the profile:\n%s", h.story())
						}
						if s := h.r.Status().Files[0]; len(s.Left) == 0 && s.Error == "" {
							t.Fatalf("the status doesn't say that the profile holds another token: %+v", s)
						}
						if h.r.Ready() != nil || !h.isLive(before[0]) || !h.isLive(before[1]) {
							t.Fatalf("of the token in use and the one before it not both live: %v", h.r.Ready())
						}
					}
					if !login {
						h.ws.Heal()
						h.wantUser(userB)
						return
					}
					h.pass(10 * time.Second) // the profile isn't looked at in this instant
					if all {
						h.ws.Heal()
					}
					if _, err := h.r.Login(h.Context(), pat.New(h.bring(userC).Value, host)); err != nil {
						t.Error(err)
					}
					h.pass(h.grace)
					if tok := h.inUse(); tok.User != userC || h.profileToken() != tok.Value {
						t.Errorf("after a login of %s the token in use is %s's, in the profile %v", userC, tok.User, h.profileToken() == tok.Value)
					}
				})
			})
		}
	}
}

// TestTypedSlowly: somebody writes a new token into the profile in place, and takes
// a while over the line. Whatever patrol does meanwhile, the token isn't lost.
func TestTypedSlowly(t *testing.T) {
	for name, typed := range map[string]int{"half a value": 12, "no value yet": 0} {
		for _, pause := range []time.Duration{8 * time.Second, 20 * time.Second} {
			for _, rotates := range []bool{false, true} {
				if rotates && typed == 0 {
					continue // there is nothing to be seen of it
				}
				t.Run(fmt.Sprintf("%s, %v, a rotation %v", name, pause, rotates), func(t *testing.T) {
					inHouse(t, func(h *house) {
						h.writeProfile(h.bring(userA).Value)
						h.serve()
						if rotates {
							h.pass(12 * time.Minute) // nothing else writes files then
						} else {
							h.pass(15*time.Minute - pause/2) // when all files are looked at
						}
						h.typeToken(h.bring(userB).Value, typed, pause, func() {
							if rotates {
								_, _ = h.r.Rotate(h.Context(), "asked")
							}
						})
						h.pass(time.Minute)
						h.wantUser(userB)
					})
				})
			}
		}
	}
}

// typeToken writes a token into the profile, first so many characters of it and the
// rest after a pause. Each second of it something changes in the folder, so that the
// profile is looked at.
func (h *house) typeToken(value string, first int, pause time.Duration, halfway func()) {
	h.Helper()
	f, err := os.OpenFile(h.cfgPath(), os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		h.Fatal(err)
	}
	write := func(text string) {
		if _, err := f.WriteString(text); err != nil {
			h.Error(err)
		}
	}
	write("[DEFAULT]\nhost = " + host + "\ntoken = " + value[:first])
	for waited := time.Duration(0); waited < pause; waited += time.Second {
		h.r.CheckProfile()
		h.pass(time.Second)
		if waited == pause/2 {
			halfway()
		}
	}
	write(value[first:] + "\n")
	if err := f.Close(); err != nil {
		h.Error(err)
	}
	h.r.CheckProfile()
}
