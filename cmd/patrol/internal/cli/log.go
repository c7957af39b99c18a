package cli

import (
	"io"
	"log/slog"
)

// The forms of the log.
const (
	formatText = "text"
	formatJSON = "json"
)

// LogOptions says what is logged, and how.
type LogOptions struct {
	Level  slog.Level
	Format string
}

// New returns a logger that writes lines to w.
func (l LogOptions) New(w io.Writer) *slog.Logger {
	opts := &slog.HandlerOptions{Level: l.Level}
	if l.Format == formatJSON {
		return slog.New(slog.NewJSONHandler(w, opts))
	}
	return slog.New(slog.NewTextHandler(w, opts))
}
