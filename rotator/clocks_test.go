package rotator_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"patrol/rotator/workspacetest"
)

const year = 365 * 24 * time.Hour

// wantAlive checks that there is a token, and that it works.
func (h *house) wantAlive(when string) {
	h.Helper()
	if tok := h.proxy.token(); h.r.Ready() != nil || !h.isLive(tok.ID) {
		h.Fatalf("%s: the token in use is dead: %v, %v (this machine's clock is off by %v)\n%s", when, tok, h.r.Ready(), time.Duration(h.clock.Load()), h.story())
	}
}

// TestClockSetBetweenStarts: this machine's clock is set while patrol doesn't run.
// The times in the ledger tell nothing then, and the token is replaced in time all the
// same.
func TestClockSetBetweenStarts(t *testing.T) {
	for _, used := range []time.Duration{10 * time.Minute, time.Hour, 3 * time.Hour} {
		if yearParts > 1 && used != time.Hour {
			continue // the race detector needs no more
		}
		for _, set := range []time.Duration{-10 * year, -year, -30 * time.Hour, -6 * time.Hour, -2 * time.Hour, -time.Hour, -20 * time.Minute, 20 * time.Minute, 2 * time.Hour, 30 * time.Hour, 10 * year} {
			t.Run(fmt.Sprintf("after %v by %v", used, set), func(t *testing.T) {
				inHouse(t, func(h *house) {
					h.issue(24 * time.Hour)
					h.serve()
					h.pass(used)
					h.close()
					h.clock.Add(int64(set))
					h.serve()
					for range 24 * 6 {
						h.pass(10 * time.Minute)
						h.wantAlive("later")
					}
					if n := len(h.ws.Tokens()); n > 11 {
						t.Errorf("%d tokens in a day", n)
					}
					h.pass(h.grace + 5*time.Minute)
					h.wantOne()
				})
			})
		}
	}
}

// TestClockSetInOutage: the clock is set while nothing can be minted. By it the token
// has expired, and the workspace takes it: it stays in use.
func TestClockSetInOutage(t *testing.T) {
	for _, set := range []time.Duration{6 * time.Hour, 30 * time.Hour, 10 * year} {
		for name, fails := range map[string]workspacetest.Fault{
			"mints fail": answer(createPath, 500, "{}"),
			"all fails":  answer("", 503, "{}"),
		} {
			for _, restart := range []bool{false, true} {
				t.Run(fmt.Sprintf("%v, %s, restart %v", set, name, restart), func(t *testing.T) {
					inHouse(t, func(h *house) {
						h.issue(24 * time.Hour)
						h.serve()
						h.pass(time.Hour)
						h.ws.Inject(fails)
						if restart {
							h.close()
						}
						h.clock.Add(int64(set))
						if restart {
							h.serve()
						}
						if name != "all fails" || !restart { // else nobody can say at this start whether it works
							for range 9 {
								h.pass(10 * time.Minute)
								h.wantAlive("in the outage")
								if n := mostInAnHour(h.callsAt(createPath, failed), time.Time{}, time.Now()); n > createsBefore {
									t.Fatalf("%d creates failed in an hour, want %d at most: the token hasn't expired", n, createsBefore)
								}
							}
						}
						h.ws.Heal()
						h.pass(20*time.Minute + h.grace)
						h.wantOne()
					})
				})
			}
		}
	}
}

// TestClockIsSetAtRandom: three days in which the clock is set again and again, by
// minutes, hours and years, forth and back, while patrol runs and while it doesn't.
func TestClockIsSetAtRandom(t *testing.T) {
	for seed := range uint64(2 + 18/yearParts) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			inHouse(t, func(h *house) {
				rng := rand.New(rand.NewPCG(seed, 7))
				h.schedule = every(t, []string{"0 */3 * * *", "0 0 1 1 *"}[seed%2])
				h.issue(24 * time.Hour)
				h.serve()
				h.pass(time.Minute)
				last, set := time.Duration(0), 0
				for passed := time.Duration(0); passed < 72*time.Hour; {
					pause := 30*time.Minute + time.Duration(rng.Int64N(int64(5*time.Hour)))
					for part := time.Duration(0); part < pause; part += 10 * time.Minute {
						h.pass(10 * time.Minute)
						h.wantAlive(fmt.Sprintf("%v after the clock was set to be off by %v", part+10*time.Minute, last))
					}
					passed += pause
					most := []time.Duration{time.Hour, 20 * time.Hour, 5 * year}[rng.IntN(3)]
					last = time.Duration(rng.Int64N(int64(2*most))) - most
					if rng.IntN(4) == 0 {
						last = 0 // it is right again
					}
					off := rng.IntN(2) == 0
					if off {
						h.close()
					}
					h.clock.Store(int64(last))
					if off {
						h.serve()
					}
					set++
				}
				if n, most := len(h.ws.Tokens()), 2+72/3+2*set; n > most {
					t.Errorf("%d tokens in three days, want %d at most, as the clock was set %d times", n, most, set)
				}
				h.pass(20*time.Minute + h.grace)
				h.wantOneInTheEnd()
			})
		})
	}
}
