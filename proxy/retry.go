package proxy

// outcome is how an attempt to send a request has ended.
type outcome struct {
	died    bool // the connection did, before a byte of an answer
	invalid bool // the upstream calls the token invalid
	current bool // the token that it was sent with is the one in use
	refused bool // the token in use is the one that Config.Refused was asked about
}

// terms are what a request may be given.
type terms struct {
	whole  bool // its body is in memory
	repeat bool // nothing is changed twice if it reaches the upstream twice
	ask    bool // there is a Config.Refused
}

// tries is what has been done for a request already.
type tries struct {
	reset bool
	asked bool
	stale int
}

// mostStale is how often a request is sent again because its token was
// replaced on the way.
const mostStale = 10

// verdict is what happens after an attempt.
type verdict uint8

const (
	passOn         verdict = iota // the client gets what came
	sendAfterReset                // send again: the connection died
	sendCurrent                   // send again: another token is in use now
	askAboutToken                 // ask Config.Refused about the token in use
)

// decide says what to do after an attempt, and what has been done then. A request is
// sent again where that can hide from the client that the token has changed or a
// connection died:
//
//   - if the upstream calls its token invalid and another is in use now, with that one:
//     once, unless tokens change faster than requests are answered, and mostStale times
//     at most;
//   - once if it does so of the token in use, and Config.Refused knows another;
//   - once if the connection dies before any byte of an answer. The upstream may have
//     begun to work, so that a model's answer may be billed twice; what changes
//     something else is not asked for again.
//
// Beyond that the client gets what the upstream says. That a connection was stale which
// the pool had kept is found by package upstream, and counts for nothing here: so what gets
// no byte of an answer is sent three times at most.
func decide(o outcome, may terms, done tries) (verdict, tries) {
	switch {
	case o.died && may.whole && may.repeat && !done.reset:
		done.reset = true
		return sendAfterReset, done
	case !o.invalid:
		return passOn, done
	case o.current && may.ask && !done.asked:
		done.asked = true
		return askAboutToken, done
	case o.current || o.refused || !may.whole || done.stale == mostStale:
		return passOn, done
	}
	done.stale++
	return sendCurrent, done
}
