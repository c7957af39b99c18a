package main

import (
	"io"
	"log/slog"
)

// The forms of the log.
const (
	formatText = "text"
	formatJSON = "json"
)

// newLog returns a logger that writes lines of the given form to w.
func newLog(w io.Writer, format string, level slog.Leveler) *slog.Logger {
	opts := &slog.HandlerOptions{Level: level}
	if format == formatJSON {
		return slog.New(slog.NewJSONHandler(w, opts))
	}
	return slog.New(slog.NewTextHandler(w, opts))
}
