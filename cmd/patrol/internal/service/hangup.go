package service

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	terminal "golang.org/x/term"
)

// HasTerminal reports whether SIGHUP tells of a terminal that is closed: stdin or
// stderr is one, and nobody (nohup) has had the signal ignored.
func HasTerminal() bool {
	isTerminal := func(f *os.File) bool { return terminal.IsTerminal(int(f.Fd())) }
	return !signal.Ignored(syscall.SIGHUP) && (isTerminal(os.Stdin) || isTerminal(os.Stderr))
}

// hangups returns a channel that gets each SIGHUP; nil where that ends the service.
func hangups() <-chan os.Signal {
	if HasTerminal() {
		return nil
	}
	all := make(chan os.Signal, 1)
	signal.Notify(all, syscall.SIGHUP)
	return all
}

// readAgain reads the files again at each SIGHUP, until ctx is done.
func (s *Service) readAgain(ctx context.Context, hangups <-chan os.Signal) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-hangups:
		}
		s.log.Info("SIGHUP: reading the profile, the agents' files and the authorities again; flags and variables count from the next start", "profile", s.profile)
		if roots, err := s.o.ReadCAs(); err != nil {
			s.log.Error("the authorities stay those of before", "err", err)
		} else {
			s.Client.Trust(roots)
			s.proxy.Trust(roots)
		}
		s.Rotator.TryNow()
	}
}
