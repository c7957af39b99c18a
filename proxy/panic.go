package proxy

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
)

// errPanicked is the error of a request of which a part has panicked outside its
// own goroutine.
var errPanicked = errors.New("a mistake in patrol ended the request")

// panicked answers a request whose goroutine panics, and must be deferred. An
// answer that has begun is cut.
func (p *Proxy) panicked(w http.ResponseWriter, r *http.Request, e **exchange) {
	v := recover()
	if v == nil {
		return
	}
	if v == http.ErrAbortHandler { //nolint:errorlint // it is the value itself, for the server to see
		panic(v)
	}
	logPanic(p.log, v)
	if *e != nil && (*e).answering {
		panic(http.ErrAbortHandler)
	}
	panickedAnswer().send(w, p.apiOf(r))
}

func panickedAnswer() answer {
	return answer{status: http.StatusInternalServerError, message: "A mistake in patrol ended this request. The log of `patrol serve` has the details; please report them."}
}

// contain makes a panic an error, and must be deferred by what http.Transport
// calls in goroutines of its own: there it would end the service.
func contain(log *slog.Logger, err *error) {
	if v := recover(); v != nil {
		logPanic(log, v)
		*err = errPanicked
	}
}

// logPanic logs where a panic came from. Its value may hold anything, and a
// token: only the runtime's own are shown.
func logPanic(log *slog.Logger, v any) {
	what := fmt.Sprintf("%T", v)
	if err, ok := v.(interface {
		error
		RuntimeError()
	}); ok {
		what = err.Error()
	}
	log.Error("a mistake in patrol ended a request", "panic", what, "stack", string(debug.Stack()))
}
