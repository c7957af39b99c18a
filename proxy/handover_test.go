package proxy_test

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"patrol/proxy"
	"patrol/rotator/pat"
)

// TestManyPublishings has clients ask while tokens change: a
// request that is sent after publishing has returned never carries an older
// one.
func TestManyPublishings(t *testing.T) {
	const clients = 16
	tokens := many(400)
	up := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
	})
	h := open(t, proxy.Config{Host: up.URL})
	var published atomic.Int64
	h.publish(t, pat.New("0", up.URL))
	stop := make(chan struct{})
	var asking sync.WaitGroup
	answered := make(chan struct{})
	for range clients {
		asking.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				least := published.Load()
				got := h.do(t, "POST", "/v1/chat/completions", `{}`, "Authorization", "Bearer stale")
				select {
				case answered <- struct{}{}:
				default:
				}
				if n, err := strconv.ParseInt(got.body, 10, 64); err != nil || n < least {
					t.Errorf("a request sent after token %d was published carried %q (%d)", least, got.body, got.StatusCode)
				}
			}
		})
	}
	for n := 1; n <= tokens; n++ {
		h.publish(t, pat.New(strconv.Itoa(n), up.URL))
		published.Store(int64(n))
		for range 3 {
			<-answered
		}
	}
	close(stop)
	asking.Wait()
}

// TestDrainedWaitsForHeaders: an older token's request holds Drained open until
// its answer's headers are there, and no longer.
func TestDrainedWaitsForHeaders(t *testing.T) {
	started, headers, end := make(chan struct{}, 8), make(chan struct{}), make(chan struct{})
	up := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer old" {
			return
		}
		started <- struct{}{}
		<-headers
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		<-end
	})
	h := open(t, proxy.Config{Host: up.URL})
	h.publish(t, pat.New("old", up.URL))
	var done sync.WaitGroup
	const requests = 4
	for range requests {
		done.Go(func() { h.do(t, "POST", "/v1/messages", `{}`) })
	}
	for range requests {
		<-started
	}
	first := h.publish(t, pat.New("new", up.URL))
	second := h.publish(t, pat.New("newer", up.URL))
	h.do(t, "POST", "/v1/messages", `{}`)
	for _, drained := range []<-chan struct{}{first, second} {
		select {
		case <-drained:
			t.Error("drained while the old token's requests wait for headers")
		default:
		}
	}
	close(headers)
	<-first // the answers' bodies are still to come
	<-second
	close(end)
	done.Wait()
}

// BenchmarkHandover measures from the moment at which a new token is published
// to the one at which the first request that carries it has reached the
// upstream, over sockets, while other clients keep the proxy at work.
func BenchmarkHandover(b *testing.B) {
	for _, others := range []int{0, 16} {
		b.Run(fmt.Sprintf("others=%d", others), func(b *testing.B) { benchmarkHandover(b, others) })
	}
}

func benchmarkHandover(b *testing.B, others int) {
	type sighting struct {
		token string
		at    time.Time
	}
	seen := make(chan sighting, 1)
	up := upstream(b, func(w http.ResponseWriter, r *http.Request) {
		if now := time.Now(); r.Header.Get("X-Measured") != "" {
			seen <- sighting{strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "), now}
		}
		w.WriteHeader(http.StatusNoContent)
	})
	h := open(b, proxy.Config{Host: up.URL})
	h.publish(b, pat.New("none", up.URL))
	h.do(b, "POST", "/v1/chat/completions", `{}`)
	stop := make(chan struct{})
	var asking sync.WaitGroup
	for range others {
		asking.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					h.do(b, "POST", "/v1/chat/completions", `{}`)
				}
			}
		})
	}
	var published, arrived time.Duration
	for n := 0; b.Loop(); n++ {
		from := time.Now()
		h.publish(b, pat.New(strconv.Itoa(n), up.URL))
		published += time.Since(from)
		h.do(b, "POST", "/v1/chat/completions", `{}`, "X-Measured", "1")
		s := <-seen
		if s.token != strconv.Itoa(n) {
			b.Fatalf("the request carried token %s, want %d", s.token, n)
		}
		arrived += s.at.Sub(from)
	}
	close(stop)
	asking.Wait()
	b.ReportMetric(float64(published.Microseconds())/float64(b.N), "µs/publish")
	b.ReportMetric(float64(arrived.Microseconds())/float64(b.N), "µs/first-request")
}
