package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	terminal "golang.org/x/term"
)

// hasTerminal reports whether SIGHUP tells of a terminal that is closed: stdin or
// stderr is one, and nobody (nohup) has had the signal ignored.
func hasTerminal() bool {
	isTerminal := func(f *os.File) bool { return terminal.IsTerminal(int(f.Fd())) }
	return !signal.Ignored(syscall.SIGHUP) && (isTerminal(os.Stdin) || isTerminal(os.Stderr))
}

// hangups returns a channel that gets each SIGHUP; nil where that ends the service.
func hangups() <-chan os.Signal {
	if hasTerminal() {
		return nil
	}
	all := make(chan os.Signal, 1)
	signal.Notify(all, syscall.SIGHUP)
	return all
}

// readAgain reads the files again at each SIGHUP, until ctx is done.
func (s *service) readAgain(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.hangups:
		}
		s.log.Info("SIGHUP: reading the profile, the agents' files and the authorities again; flags and variables count from the next start", "profile", s.target.profile.file)
		if roots, err := s.rootCAs(); err != nil {
			s.log.Error("the authorities stay those of before", "err", err)
		} else {
			s.client.Trust(roots)
			s.proxy.Trust(roots)
		}
		s.rotator.CheckFiles()
	}
}
