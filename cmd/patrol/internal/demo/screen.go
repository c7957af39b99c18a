package demo

import (
	"fmt"
	"io"
	"strings"
	"time"

	"patrol/cmd/patrol/internal/cli"
)

// A screen shows the demo: a line for each event, and in a terminal one more
// that is kept up to date.
type screen struct {
	w       io.Writer
	live    bool // w is a terminal: colours, and a last line that changes
	began   time.Time
	clients []*client
}

// columns is what a terminal must have for the demo's lines: the end of one that
// is wrapped can't be erased.
const columns = 80

const intro = `A workspace in memory, patrol serve, and five clients that all started with the
same token. patrol rotates every 2 seconds and revokes the old token half a
second later. The first two clients ask the workspace with the token that they
have, as programs do that read it once; watch them. A column counts requests.

`

func (s *screen) printf(format string, args ...any) { _, _ = fmt.Fprintf(s.w, format, args...) }

// begin prints what is to be seen, and the head of the list.
func (s *screen) begin() {
	s.printf("%s%5s  %-17s", intro, "time", "")
	for _, c := range s.clients {
		s.printf("%11s", c.column)
	}
	s.printf("\n")
	s.event("all are signed in", false)
}

// event prints a line that stays: what happened, and how each client has fared so
// far.
func (s *screen) event(what string, rotation bool) {
	if rotation && s.live {
		what = fmt.Sprintf("\x1b[1m%-17s\x1b[0m", what)
	}
	s.erase()
	s.printf("%s\n", s.row(what))
	s.refresh()
}

// refresh brings the last line up to date, in a terminal.
func (s *screen) refresh() {
	if s.live {
		s.erase()
		s.printf("%s", s.row("…"))
	}
}

func (s *screen) erase() {
	if s.live {
		s.printf("\r\x1b[K")
	}
}

func (s *screen) row(what string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%4.1fs  %-17s", time.Since(s.began).Seconds(), what)
	for _, c := range s.clients {
		n := c.count()
		cell := fmt.Sprintf("%11s", fmt.Sprintf("%d ok", n.sent))
		if n.failed > 0 {
			cell = fmt.Sprintf("%11s", fmt.Sprintf("%d failed", n.failed))
		}
		if s.live && n.sent > 0 {
			const red, green = 31, 32
			colour := green
			if !n.ok {
				colour = red
			}
			cell = fmt.Sprintf("\x1b[%dm%s\x1b[0m", colour, cell)
		}
		b.WriteString(cell)
	}
	return b.String()
}

// end prints the table, and says whether patrol has done its job.
func (s *screen) end(rotations int) error {
	s.erase()
	s.printf("\n%d rotations in %.0f seconds\n\n", rotations, time.Since(s.began).Seconds())
	t := cli.NewTable(s.w)
	t.Line("client\trequests\tfailures\t")
	var broken []string
	for _, c := range s.clients {
		n, why := c.count(), ""
		if n.last != nil {
			why = n.last.Error()
		}
		t.Line("%s\t%d\t%d\t%s", c.name, n.sent, n.failed, why)
		if !c.doomed && (n.failed > 0 || n.sent == 0) {
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
