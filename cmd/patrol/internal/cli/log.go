package cli

import (
	"io"
	"log/slog"
	"strings"
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

func parseLogLevel(o *Options, s Setting) error {
	if err := o.Log.Level.UnmarshalText([]byte(s.Value())); err != nil || strings.ContainsAny(s.Value(), "+-") {
		return s.Wrong(s.Value(), "no such level", "use debug, info, warn or error")
	}
	return nil
}

func parseLogFormat(o *Options, s Setting) error {
	o.Log.Format = strings.ToLower(s.Value())
	if o.Log.Format != formatText && o.Log.Format != formatJSON {
		return s.Wrong(s.Value(), "no such format", "use text or json")
	}
	return nil
}
