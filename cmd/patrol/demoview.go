package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	terminal "golang.org/x/term"
)

// demoView shows the demo: a line for each event, and in a terminal one more
// that is kept up to date.
type demoView struct {
	w       io.Writer
	live    bool // w is a terminal: colours, and a last line that changes
	began   time.Time
	clients []*demoClient
}

func newDemoView(a *app, clients []*demoClient) *demoView {
	return &demoView{w: a.stdout, live: a.fancy(), clients: clients, began: time.Now()}
}

// demoColumns is what a terminal must have for the demo's lines: the end of one
// that is wrapped can't be erased.
const demoColumns = 80

// fancy reports whether stdout is a terminal that may be given colours
// (https://no-color.org) and is wide enough for a line that changes.
func (a *app) fancy() bool {
	w := a.stdout
	if c, ok := w.(*checkedWriter); ok {
		w = c.w
	}
	f, ok := w.(*os.File)
	if !ok || !terminal.IsTerminal(int(f.Fd())) || a.getenv("NO_COLOR") != "" || a.getenv("TERM") == "dumb" {
		return false
	}
	columns, _, err := terminal.GetSize(int(f.Fd()))
	return err != nil || columns == 0 || columns >= demoColumns
}

const demoIntro = `A workspace in memory, patrol serve, and five clients that all started with the
same token. patrol rotates every 2 seconds and revokes the old token half a
second later. The first two clients ask the workspace with the token that they
have, as programs do that read it once; watch them. A column counts requests.

`

// begin prints what is to be seen, and the head of the list.
func (v *demoView) begin() {
	_, _ = fmt.Fprint(v.w, demoIntro)
	var head strings.Builder
	fmt.Fprintf(&head, "%5s  %-17s", "time", "")
	for _, c := range v.clients {
		fmt.Fprintf(&head, "%11s", c.column)
	}
	_, _ = fmt.Fprintln(v.w, head.String())
	v.line("all are signed in")
}

// event prints a line that stays.
func (v *demoView) event(what string, rotation bool) {
	if rotation && v.live {
		what = "\x1b[1m" + fmt.Sprintf("%-17s", what) + "\x1b[0m"
	}
	v.line(what)
}

// line prints what happened and how each client has fared so far.
func (v *demoView) line(what string) {
	v.erase()
	_, _ = fmt.Fprintln(v.w, v.row(what))
	v.refresh()
}

// refresh brings the last line up to date, in a terminal.
func (v *demoView) refresh() {
	if v.live {
		v.erase()
		_, _ = fmt.Fprint(v.w, v.row("…"))
	}
}

func (v *demoView) erase() {
	if v.live {
		_, _ = fmt.Fprint(v.w, "\r\x1b[K")
	}
}

func (v *demoView) row(what string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%4.1fs  %-17s", time.Since(v.began).Seconds(), what)
	for _, c := range v.clients {
		n := c.count()
		how := fmt.Sprintf("%d ok", n.sent)
		if n.failed > 0 {
			how = fmt.Sprintf("%d failed", n.failed)
		}
		cell := fmt.Sprintf("%11s", how)
		if v.live && n.sent > 0 {
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
func (v *demoView) end(rotations int) error {
	v.erase()
	_, _ = fmt.Fprintf(v.w, "\n%d rotations in %.0f seconds\n\n", rotations, time.Since(v.began).Seconds())
	tw := tabwriter.NewWriter(v.w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(tw, "client\trequests\tfailures\t")
	var broken []string
	for _, c := range v.clients {
		n := c.count()
		why := ""
		if n.last != nil {
			why = n.last.Error()
		}
		_, _ = fmt.Fprintf(tw, "%s\t%d\t%d\t%s\n", c.name, n.sent, n.failed, why)
		if !c.doomed && (n.failed > 0 || n.sent == 0) {
			broken = append(broken, c.column)
		}
	}
	if err := tw.Flush(); err != nil {
		return fmt.Errorf("writing to stdout: %w", err)
	}
	const least = 3
	switch {
	case len(broken) > 0:
		return fmt.Errorf("clients failed that should not: %s", strings.Join(broken, ", "))
	case rotations < least:
		return fmt.Errorf("only %d rotations happened", rotations)
	}
	return nil
}
