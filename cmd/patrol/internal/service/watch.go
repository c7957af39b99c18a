package service

import (
	"context"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"
	terminal "golang.org/x/term"

	"patrol/cmd/patrol/internal/cli"
)

// watch tells the rotator when somebody has changed the profile's file: a token
// that a person puts there is used at once. Where files can't be watched, the
// rotator's own look at it, every 30 seconds, has to do.
//
// The folder is watched and not the file, which is replaced and not written to.
func (s *Service) watch(ctx context.Context) error {
	const settle = 200 * time.Millisecond // an editor makes several changes of one
	path := s.profile
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target
	}
	w, err := fsnotify.NewWatcher()
	if err == nil {
		defer func() { _ = w.Close() }()
		err = w.Add(filepath.Dir(path))
	}
	if err != nil {
		s.log.Info("the profile can't be watched: looking at it every 30 seconds", "path", path, "err", err)
		return nil
	}
	quiet := time.NewTimer(settle)
	defer quiet.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case e := <-w.Events:
			if filepath.Base(e.Name) == filepath.Base(path) {
				quiet.Reset(settle)
			}
		case err := <-w.Errors:
			s.log.Debug("watching the profile", "err", err)
		case <-quiet.C:
			s.Rotator.CheckProfile()
		}
	}
}

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
		s.log.Info("SIGHUP: reading the profile, the agents' files, the client keys and the authorities again; flags and variables count from the next start", "profile", s.profile)
		if roots, err := s.o.ReadCAs(); err != nil {
			s.log.Error("the authorities stay those of before", "err", err)
		} else {
			s.Client.Trust(roots)
			s.proxy.Trust(roots)
		}
		s.Rotator.TryNow()
		go s.readKeysAgain() // not waited for: the state folder's disk may not answer
	}
}

func (s *Service) readKeysAgain() {
	if err := s.ReloadKeys(); err != nil {
		s.log.Error("the client keys can't be read again, or not all of them written", "err", err, "mend", cli.HintOf(err))
	}
}
