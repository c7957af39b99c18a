package proxy_test

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// How often each peer is measured, in turns (bare, patrol, bare, patrol, …), and for
// how long at a time. -benchtime changes neither: a row takes longer than its usual
// second, so that go test measures it once.
const (
	turns    = 9
	turnTime = 320 * time.Millisecond
)

// BenchmarkSpeed compares patrol as it ships, with guard, filter and second tries, to
// a bare httputil.ReverseProxy. Both are asked in turns. Each row tells both medians,
// and as its ratio the median of those of two turns that are neighbours: noise that
// lasts longer than a turn is in both. The table at the end has all ratios.
func BenchmarkSpeed(b *testing.B) {
	ratios := make(map[string][2]comparison)
	for i, role := range []string{"upstream", "upstream-tls"} {
		b.Run([]string{"plain", "TLS"}[i], func(b *testing.B) {
			s := setup{cert: filepath.Join(b.TempDir(), "cert.pem")}
			s.upstream = startPeer(b, role, "", s.cert)
			s.bare = startPeer(b, "bare", s.upstream.url, s.cert)
			s.filtered = startPeer(b, "filtered", s.upstream.url, s.cert)
			for _, row := range speedRows() {
				b.Run(row.name, func(b *testing.B) {
					c := row.compare(b, s)
					c.report(b, row.unit)
					both := ratios[row.name]
					both[i] = c
					ratios[row.name] = both
				})
			}
		})
	}
	printTable(ratios)
}

// setup is the processes of a comparison.
type setup struct {
	cert                     string
	upstream, bare, filtered *peer
}

// speedRow is one row of the table.
type speedRow struct {
	name  string // of its benchmark
	title string
	unit  string
	// compare measures it.
	compare func(b *testing.B, s setup) comparison
}

func speedRows() []speedRow {
	small := func(clients int) load { return shortLoad(clients, longMessage(128, false)) }
	long := func(clients, size int) load { return shortLoad(clients, longMessage(size, false)) }
	dirty := shortLoad(1, dirtySession(1<<20))
	const most = 1000 // events of a stream without delay
	return []speedRow{
		{"cpu-16", "CPU/request, 16 clients", "µs", small(16).compare(cpuOfAnswer)},
		{"cpu-64", "CPU/request, 64 clients", "µs", small(64).compare(cpuOfAnswer)},
		{"rate-64", "requests/s, 64 clients", "req/s", small(64).compare(answerRate)},
		{"latency", "latency p50, 1 client", "µs", small(1).compare(p50)},
		{"1MB", "1 MB body, p50", "µs", long(1, 1<<20).compare(p50)},
		{"4MB", "4 MB body, p50", "µs", long(1, 4<<20).compare(p50)},
		{"1MB-dirty", "1 MB body that is mended, p50", "µs", dirty.compare(p50)},
		{"1MB-16", "1 MB body, 16 clients, CPU/request", "µs", long(16, 1<<20).compare(cpuOfAnswer)},
		{"first-event", "first event, p50", "µs", streamLoad(1, 3).compare(func(o outcome) float64 { return us(median(o.begun)) })},
		{"events", "events/s, no delay, 8 streams", "events/s", streamLoad(8, most).compare(func(o outcome) float64 { return most * answerRate(o) })},
		{"memory", "memory per open stream, 1,000 streams", "KiB", compareMemory},
	}
}

// shortLoad returns a load whose answers are as short as its bodies may be long.
func shortLoad(clients int, body string) load {
	return load{clients, benchRequest("", body), len(modelReply)}
}

// streamLoad returns one whose answers are events, without delay.
func streamLoad(clients, events int) load {
	return load{clients, benchRequest(fmt.Sprintf("?events=%d", events), longMessage(20<<10, true)), events * len(modelEvent)}
}

func p50(o outcome) float64         { return us(median(o.each)) }
func answerRate(o outcome) float64  { return float64(o.answers) / o.took.Seconds() }
func cpuOfAnswer(o outcome) float64 { return us(o.cpu) / float64(o.answers) }

func us(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }

func median[T cmp.Ordered](all []T) T {
	all = slices.Clone(all)
	slices.Sort(all)
	return all[len(all)/2]
}

// comparison is what a row has measured, a value for each turn.
type comparison struct{ bare, filtered []float64 }

// ratios returns patrol's values as parts of the bare proxy's, in order.
func (c comparison) ratios() []float64 {
	all := make([]float64, len(c.bare))
	for i := range all {
		all[i] = c.filtered[i] / c.bare[i]
	}
	slices.Sort(all)
	return all
}

// report makes the row's line. Where the system doesn't tell what a row needs, it is
// skipped.
func (c comparison) report(b *testing.B, unit string) {
	b.Helper()
	if slices.Contains(c.bare, 0) {
		b.Skip("this system doesn't tell it")
	}
	ratios := c.ratios()
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(median(c.bare), "bare-"+unit)
	b.ReportMetric(median(c.filtered), "filtered-"+unit)
	b.ReportMetric(median(ratios), "ratio")
	b.ReportMetric(ratios[0], "ratio-min")
	b.ReportMetric(ratios[len(ratios)-1], "ratio-max")
}

// printTable prints the rows that have been measured: the ratio, within what limits it
// was, and both peers' medians.
func printTable(measured map[string][2]comparison) {
	if len(measured) == 0 {
		return
	}
	fmt.Printf("\n| patrol ÷ bare ReverseProxy, median of %d (min..max) | plain | TLS |\n|---|---|---|\n", turns)
	for _, row := range speedRows() {
		both, ok := measured[row.name]
		if !ok {
			continue
		}
		fmt.Printf("| %s | %s | %s |\n", row.title, both[0].cell(row.unit), both[1].cell(row.unit))
	}
	fmt.Println()
}

func (c comparison) cell(unit string) string {
	ratios := c.ratios()
	if len(ratios) == 0 {
		return "-"
	}
	return fmt.Sprintf("**%.2f** (%.2f..%.2f), %s ÷ %s %s", median(ratios), ratios[0], ratios[len(ratios)-1], digits(median(c.filtered)), digits(median(c.bare)), unit)
}

// digits writes a number with as many digits as are worth reading.
func digits(v float64) string {
	if v < 100 {
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.0f", v)
}

// compare returns how a row with this load is measured: what of says of each turn.
func (l load) compare(of func(outcome) float64) func(*testing.B, setup) comparison {
	return func(b *testing.B, s setup) (c comparison) {
		bare, filtered := l.connect(b, s.bare.addr), l.connect(b, s.filtered.addr)
		l.run(b, s.bare, bare, turnTime/4) // to warm up
		l.run(b, s.filtered, filtered, turnTime/4)
		for range turns {
			c.bare = append(c.bare, of(l.run(b, s.bare, bare, turnTime)))
			c.filtered = append(c.filtered, of(l.run(b, s.filtered, filtered, turnTime)))
		}
		return c
	}
}
