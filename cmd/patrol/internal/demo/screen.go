package demo

import (
	"fmt"
	"strings"
	"time"

	"patrol/cmd/patrol/internal/cli"
)

// A screen shows the demo: a line for each event.
type screen struct {
	cli.Streams
	began   time.Time
	clients []*client
}

const intro = `A workspace in memory, patrol serve, and five clients that all started with the
same token. patrol rotates every 2 seconds and revokes the old token half a
second later. The first two clients ask the workspace with the token that they
have, as programs do that read it once; watch them. A column counts requests.

`

// begin prints what is to be seen, and the head of the list.
func (s *screen) begin() {
	s.Printf("%s%5s  %-17s", intro, "time", "")
	for _, c := range s.clients {
		s.Printf("%11s", c.column)
	}
	s.Printf("\n")
	s.event("all are signed in")
}

// event prints what happened, and how each client has fared so far.
func (s *screen) event(what string) {
	s.Printf("%4.1fs  %-17s", time.Since(s.began).Seconds(), what)
	for _, c := range s.clients {
		n, how := c.sent.Load(), "ok"
		if failed := c.failed.Load(); failed > 0 {
			n, how = failed, "failed"
		}
		s.Printf("%11s", fmt.Sprintf("%d %s", n, how))
	}
	s.Printf("\n")
}

// end prints the table, and says whether patrol has done its job.
func (s *screen) end(rotations int) error {
	s.Printf("\n%d rotations in %.0f seconds\n\n", rotations, time.Since(s.began).Seconds())
	t := cli.NewTable(s.Out)
	t.Line("client\trequests\tfailures\t")
	var broken []string
	for _, c := range s.clients {
		sent, failed := c.sent.Load(), c.failed.Load()
		why, _ := c.lastErr.Load().(string)
		t.Line("%s\t%d\t%d\t%s", c.name, sent, failed, why)
		if !c.doomed && (failed > 0 || sent == 0) {
			broken = append(broken, c.column)
		}
	}
	_ = t.Flush()
	const least = 3
	switch {
	case len(broken) > 0:
		return fmt.Errorf("clients failed that should not: %s", strings.Join(broken, ", "))
	case rotations < least:
		return fmt.Errorf("only %d rotations happened", rotations)
	}
	return nil
}
