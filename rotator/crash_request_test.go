package rotator_test

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"sync/atomic"
	"testing"

	"patrol/rotator/processtest"
)

// TestCrashAtEveryRequest kills a process that rotates, or logs out, at each of its requests:
// before the workspace has seen it, and after it was done and before there was
// an answer.
func TestCrashAtEveryRequest(t *testing.T) {
	for _, scene := range scenes {
		t.Run(scene.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			var points []string
			for n := 1; ; n++ {
				s.begin(scene)
				point := s.killAtRequest((n+1)/2, n%2 == 0)
				s.afterKill(point)
				if point == atEnd {
					break
				}
				points = append(points, point)
			}
			t.Logf("killed %d times: %v", len(points), points)
			for _, want := range scene.calls {
				if !slices.Contains(points, "before "+want) || !slices.Contains(points, "after "+want) {
					t.Errorf("%s was never reached", want)
				}
			}
		})
	}
}

// atEnd is no point at which a process is killed: it ended by itself.
const atEnd = "never"

// killAtRequest runs a process and kills it at its n-th request.
func (s *site) killAtRequest(n int, after bool) (point string) {
	s.Helper()
	cmd := processtest.Command(s.scene.role, s.dir, s.host)
	cmd.Stderr = s.logs
	started, dead, reached := make(chan struct{}), make(chan struct{}), make(chan string, 1)
	var seen atomic.Int32
	s.handle(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if int(seen.Add(1)) != n {
			s.ws.ServeHTTP(w, r)
			return
		}
		what := "before "
		if after {
			what = "after "
			s.ws.ServeHTTP(httptest.NewRecorder(), r)
		}
		reached <- what + r.Method + " " + r.URL.Path
		<-started
		_ = cmd.Process.Kill()
		<-dead
		panic(http.ErrAbortHandler)
	}))
	err := cmd.Start()
	close(started)
	if err == nil {
		err = cmd.Wait()
	}
	close(dead)
	s.handle(s.ws)
	point = atEnd
	select {
	case point = <-reached:
	default:
	}
	if killed := cmd.ProcessState != nil && cmd.ProcessState.ExitCode() == -1; killed != (point != atEnd) || !killed && err != nil {
		s.Fatalf("at request %d (%s): %v\n%s", n, point, err, s.logs)
	}
	return point
}
