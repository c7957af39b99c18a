package proxy_test

import (
	"bufio"
	"cmp"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// BenchmarkSpeed asks the upstream directly, through a bare
// httputil.ReverseProxy, through patrol with its guard, and through one that
// filters too; in turns, and reports medians and their ratios to the bare
// proxy's. CPU is the proxy's process alone.
func BenchmarkSpeed(b *testing.B) {
	for _, role := range []string{"upstream", "upstream-tls"} {
		name := map[string]string{"upstream": "plain", "upstream-tls": "tls"}[role]
		b.Run(name, func(b *testing.B) {
			cert := filepath.Join(b.TempDir(), "cert.pem")
			up := startPeer(b, role, "", cert)
			up.name = "direct"
			peers := []*peer{up}
			for _, role := range []string{"bare", "patrol", "filtered"} {
				peers = append(peers, startPeer(b, role, up.url, cert))
			}
			for _, clients := range []int{1, 16, 64} {
				b.Run(fmt.Sprintf("small/clients=%d", clients), func(b *testing.B) { benchRequests(b, peers, clients, 128, 1<<10) })
			}
			b.Run("body=1MB/clients=1", func(b *testing.B) { benchRequests(b, peers, 1, 8, 1<<20) })
			b.Run("body=4MB/clients=1", func(b *testing.B) { benchRequests(b, peers, 1, 4, 4<<20) })
			b.Run("body=1MB/clients=16", func(b *testing.B) { benchRequests(b, peers, 16, 32, 1<<20) })
			b.Run("first-event", func(b *testing.B) { benchFirstEvent(b, peers) })
			b.Run("event", func(b *testing.B) { benchEvents(b, peers) })
			b.Run("saturation", func(b *testing.B) { benchSaturation(b, peers) })
			b.Run("memory", func(b *testing.B) { benchMemory(b, peers) })
		})
	}
}

func benchClient(b *testing.B) *http.Client {
	transport := &http.Transport{MaxIdleConnsPerHost: 2048, DisableCompression: true, ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	b.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

func (p *peer) post(client *http.Client, query, body string) (*http.Response, error) {
	// An upstream that is asked directly has the path that proxies make.
	path := "/v1/chat/completions"
	if p.name == "direct" {
		path = "/serving-endpoints/chat/completions"
	}
	return client.Post(p.url+path+query, "application/json", strings.NewReader(body))
}

// sample is what a peer's requests took.
type sample struct {
	each []time.Duration // by a clock
	cpu  []time.Duration // per request, one for each round
}

// benchRequests sends n requests per round and peer: few, so that there are
// many rounds and the peers take turns often.
func benchRequests(b *testing.B, peers []*peer, clients, n, size int) {
	client := benchClient(b)
	body := `{"model":"m","messages":[{"role":"user","content":"` + strings.Repeat("x", size) + `"}]}`
	samples := make([]sample, len(peers))
	round := func(p *peer, s *sample) {
		before, _ := p.account(b, "/")
		took := make([][]time.Duration, clients)
		var asking sync.WaitGroup
		for c := range clients {
			asking.Go(func() {
				for range n / clients {
					from := time.Now()
					res, err := p.post(client, "", body)
					if err != nil {
						b.Error(err)
						return
					}
					got, err := io.ReadAll(res.Body)
					_ = res.Body.Close()
					if err != nil || res.StatusCode != 200 || len(got) < 100 {
						b.Errorf("%s: %d %s %v", p.name, res.StatusCode, got, err)
					}
					took[c] = append(took[c], time.Since(from))
				}
			})
		}
		asking.Wait()
		after, _ := p.account(b, "/")
		s.each = append(s.each, slices.Concat(took...)...)
		s.cpu = append(s.cpu, (after-before)/time.Duration(n/clients*clients))
	}
	for i, p := range peers {
		round(p, &samples[i])
	}
	clear(samples) // the first round warmed up
	for b.Loop() {
		for i, p := range peers {
			round(p, &samples[i])
		}
	}
	report(b, peers, samples)
}

// report gives each peer's medians and the ratios to the bare proxy's, which is
// the second peer.
func report(b *testing.B, peers []*peer, samples []sample) {
	b.ReportMetric(0, "ns/op")
	p50 := make([]float64, len(peers))
	cpu := make([]float64, len(peers))
	for i, p := range peers {
		p50[i] = us(median(samples[i].each))
		b.ReportMetric(p50[i], "µs-"+p.name)
		if len(samples[i].cpu) > 0 && p.name != "direct" {
			cpu[i] = us(median(samples[i].cpu))
			b.ReportMetric(cpu[i], "µs-cpu-"+p.name)
		}
	}
	for i, p := range peers[2:] {
		b.ReportMetric(p50[i+2]/p50[1], "ratio-"+p.name)
		if cpu[1] > 0 {
			b.ReportMetric(cpu[i+2]/cpu[1], "ratio-cpu-"+p.name)
		}
	}
}

func us(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }

func median[T cmp.Ordered](all []T) T {
	var none T
	if len(all) == 0 {
		return none
	}
	all = slices.Clone(all)
	slices.Sort(all)
	return all[len(all)/2]
}

// benchFirstEvent measures from a request's start to its first event.
func benchFirstEvent(b *testing.B, peers []*peer) {
	client := benchClient(b)
	body := `{"model":"m","stream":true,"messages":[{"role":"user","content":"` + strings.Repeat("x", 20<<10) + `"}]}`
	samples := make([]sample, len(peers))
	for b.Loop() {
		for range 50 {
			for i, p := range peers {
				from := time.Now()
				res, err := p.post(client, "?events=3", body)
				if err != nil {
					b.Fatal(err)
				}
				lines := bufio.NewReader(res.Body)
				if _, err := lines.ReadString('\n'); err != nil {
					b.Fatal(err)
				}
				samples[i].each = append(samples[i].each, time.Since(from))
				_, _ = io.Copy(io.Discard, lines)
				_ = res.Body.Close()
			}
		}
	}
	report(b, peers, samples)
}

// benchEvents measures each event's way from the upstream's write to the
// client's read, at 16 streams of an event per ms.
func benchEvents(b *testing.B, peers []*peer) {
	client := benchClient(b)
	samples := make([]sample, len(peers))
	const streams, events = 16, 100
	for b.Loop() {
		for i, p := range peers {
			before, _ := p.account(b, "/")
			took := make([][]time.Duration, streams)
			var reading sync.WaitGroup
			for s := range streams {
				reading.Go(func() {
					res, err := p.post(client, fmt.Sprintf("?every=1ms&events=%d", events), "{}")
					if err != nil {
						b.Error(err)
						return
					}
					defer func() { _ = res.Body.Close() }()
					lines := bufio.NewScanner(res.Body)
					for lines.Scan() {
						now := time.Now()
						var at int64
						if _, err := fmt.Sscanf(lines.Text(), `data: {"at":%d,`, &at); err == nil {
							took[s] = append(took[s], now.Sub(time.Unix(0, at)))
						}
					}
				})
			}
			reading.Wait()
			after, _ := p.account(b, "/")
			samples[i].each = append(samples[i].each, slices.Concat(took...)...)
			samples[i].cpu = append(samples[i].cpu, (after-before)/(streams*events))
		}
	}
	report(b, peers, samples)
}

// benchSaturation measures time and CPU per event where the upstream sends as
// fast as it can.
func benchSaturation(b *testing.B, peers []*peer) {
	client := benchClient(b)
	samples := make([]sample, len(peers))
	const streams, events = 8, 1000
	for b.Loop() {
		for i, p := range peers {
			before, _ := p.account(b, "/")
			from := time.Now()
			var reading sync.WaitGroup
			for range streams {
				reading.Go(func() {
					res, err := p.post(client, fmt.Sprintf("?events=%d", events), "{}")
					if err != nil {
						b.Error(err)
						return
					}
					_, _ = io.Copy(io.Discard, res.Body)
					_ = res.Body.Close()
				})
			}
			reading.Wait()
			samples[i].each = append(samples[i].each, time.Since(from)/(streams*events))
			after, _ := p.account(b, "/")
			samples[i].cpu = append(samples[i].cpu, (after-before)/(streams*events))
		}
	}
	report(b, peers, samples)
}

// benchMemory opens 1,000 streams at once and reports what each costs its
// proxy. What patrol takes without any is BenchmarkServeIdle's: a peer is this
// test binary, which has just served bodies of megabytes.
func benchMemory(b *testing.B, peers []*peer) {
	const streams = 1000
	b.ReportMetric(0, "ns/op")
	per := make(map[string]float64)
	for b.Loop() {
		for _, p := range peers[1:] {
			client := benchClient(b)
			_, idle := p.account(b, "/memory")
			bodies := make(chan *http.Response, streams)
			var asking sync.WaitGroup
			slots := make(chan struct{}, 64)
			for range streams {
				asking.Go(func() {
					slots <- struct{}{}
					defer func() { <-slots }()
					res, err := p.post(client, "?every=10m&events=2", `{"model":"m","stream":true,"messages":[{"role":"user","content":"`+strings.Repeat("x", 20<<10)+`"}]}`)
					if err != nil {
						b.Error(err)
						return
					}
					bodies <- res
				})
			}
			asking.Wait()
			time.Sleep(3 * time.Second) // what is kept for a next burst is no stream's
			_, rss := p.account(b, "/memory")
			close(bodies)
			for res := range bodies {
				_ = res.Body.Close()
			}
			client.CloseIdleConnections()
			per[p.name] = float64(rss-idle) / streams / 1024
			b.ReportMetric(per[p.name], "KiB/stream-"+p.name)
		}
	}
	for _, p := range peers[2:] {
		b.ReportMetric(per[p.name]/per["bare"], "ratio-"+p.name)
	}
}
