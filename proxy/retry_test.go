package proxy

import (
	"math/rand/v2"
	"testing"
)

// TestDecide has a row for each sentence of decide's comment, and for its contrary.
func TestDecide(t *testing.T) {
	all := terms{whole: true, repeat: true, ask: true}
	passed, invalid, refusedNow := outcome{}, outcome{invalid: true}, outcome{invalid: true, current: true}
	died := outcome{died: true}
	for _, tt := range []struct {
		name string
		o    outcome
		may  terms
		done tries
		want verdict
	}{
		{"an answer", passed, all, tries{}, passOn},
		{"an answer to the token in use", outcome{current: true}, all, tries{}, passOn},

		{"another token is in use now", invalid, all, tries{}, sendCurrent},
		{"of a body that isn't in memory", invalid, terms{repeat: true, ask: true}, tries{}, passOn},
		{"that changes something: a refused one hasn't", invalid, terms{whole: true, ask: true}, tries{}, sendCurrent},
		{"nobody to ask", invalid, terms{whole: true, repeat: true}, tries{}, sendCurrent},
		{"once more, as tokens change fast", invalid, all, tries{reset: true, asked: true, stale: mostStale - 1}, sendCurrent},
		{"and no more", invalid, all, tries{stale: mostStale}, passOn},
		{"the one in use was asked about already", outcome{invalid: true, refused: true}, all, tries{asked: true}, passOn},

		{"the token in use", refusedNow, all, tries{}, askAboutToken},
		{"after all else", refusedNow, all, tries{reset: true, stale: mostStale}, askAboutToken},
		{"nobody to ask about it", refusedNow, terms{whole: true, repeat: true}, tries{}, passOn},
		{"a second time", refusedNow, all, tries{asked: true}, passOn},
		{"of a body that isn't in memory: others gain by it", refusedNow, terms{ask: true}, tries{}, askAboutToken},

		{"died", died, all, tries{}, sendAfterReset},
		{"died again", died, all, tries{reset: true}, passOn},
		{"died after other tries", died, all, tries{asked: true, stale: mostStale}, sendAfterReset},
		{"died, and may change something twice", died, terms{whole: true, ask: true}, tries{}, passOn},
		{"died, of a body that isn't in memory", died, terms{repeat: true, ask: true}, tries{}, passOn},
		{"died under the token in use", outcome{died: true, current: true}, all, tries{}, sendAfterReset},
	} {
		got, done := decide(tt.o, tt.may, tt.done)
		want := tt.done
		switch tt.want {
		case sendAfterReset:
			want.reset = true
		case askAboutToken:
			want.asked = true
		case sendCurrent:
			want.stale++
		}
		if got != tt.want || done != want {
			t.Errorf("%s: %d %+v, want %d %+v", tt.name, got, done, tt.want, want)
		}
	}
}

// TestDecideEnds: whatever happens, it is done often enough.
func TestDecideEnds(t *testing.T) {
	chance := func() bool { return rand.IntN(8) > 0 }
	for range 20_000 {
		may := terms{whole: chance(), repeat: chance(), ask: chance()}
		var done tries
		var count [askAboutToken + 1]int
		for next := askAboutToken; next != passOn; count[next]++ {
			o := outcome{died: !chance(), invalid: chance(), current: !chance(), refused: !chance()}
			next, done = decide(o, may, done)
			right := [...]bool{
				passOn:         true,
				sendAfterReset: may.whole && may.repeat && o.died,
				sendCurrent:    may.whole && o.invalid && !o.current,
				askAboutToken:  may.ask && o.invalid && o.current,
			}
			if !right[next] {
				t.Fatalf("%+v of %+v: %d", o, may, next)
			}
		}
		if count[sendAfterReset] > 1 || count[askAboutToken] > 1 || count[sendCurrent] > mostStale {
			t.Fatalf("%+v: %d", may, count)
		}
	}
}
