package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"text/tabwriter"
	"time"

	"patrol/rotator/pat"
)

// A Table prints lines of columns, which Flush puts below each other.
type Table struct{ *tabwriter.Writer }

// NewTable returns a table on w. What it can't write is reported at the end of
// the process: see CheckedWriter.
func NewTable(w io.Writer) Table { return Table{tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)} }

// Line adds a line, of which tabs part the columns.
func (t Table) Line(format string, args ...any) { _, _ = fmt.Fprintf(t, format+"\n", args...) }

// PrintJSON prints v for programs.
func (s Streams) PrintJSON(v any) {
	enc := json.NewEncoder(s.Out)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	_ = enc.Encode(v)
}

// TokenName is how a token is shown.
func TokenName(id string) string {
	if id == "" {
		return "id unknown"
	}
	return pat.ShortID(id)
}

// Expires tells when something expires, in an addition to a sentence; "" if that
// isn't known.
func Expires(t, now time.Time) string {
	if t.IsZero() {
		return ""
	}
	return ", expires " + When(t, now)
}

// When tells a time as people read it: how far away, and exactly.
func When(t, now time.Time) string {
	d := t.Sub(now).Round(time.Second)
	distance := "now"
	switch {
	case d > 0:
		distance = "in " + d.String()
	case d < 0:
		distance = (-d).String() + " ago"
	}
	return fmt.Sprintf("%s (%s)", distance, t.UTC().Format(time.RFC3339))
}

// The forms of the log.
const (
	FormatText = "text"
	FormatJSON = "json"
)

// LogOptions says what is logged, and how.
type LogOptions struct {
	Level  slog.Level
	Format string
}

// New returns a logger that writes lines to w.
func (l LogOptions) New(w io.Writer) *slog.Logger {
	opts := &slog.HandlerOptions{Level: l.Level}
	if l.Format == FormatJSON {
		return slog.New(slog.NewJSONHandler(w, opts))
	}
	return slog.New(slog.NewTextHandler(w, opts))
}
