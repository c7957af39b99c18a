package service

import (
	"context"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
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
