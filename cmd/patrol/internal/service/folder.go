package service

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"time"

	"patrol/cmd/patrol/internal/cli"
	"patrol/cmd/patrol/internal/control"
	"patrol/cmd/patrol/internal/session"
	"patrol/cmd/patrol/internal/state"
	"patrol/rotator/ledger"
)

// folder watches the state folder: somebody may move it away, and another one may stand
// in its place.
type folder struct {
	ledger *ledger.Ledger
	holder state.Holder
	proxy  state.Proxy
	dir    string
	log    *slog.Logger
	every  time.Duration // how often it is looked at

	keys       *state.Keys
	reloadKeys func() error // reads the keys again, and writes there what is lost of them

	inUse fs.FileInfo // the folder that holds our ledger; of Look alone

	mu      sync.Mutex // guards problem; held over nothing that blocks
	problem error
}

// newFolder leaves to the caller how the keys are read again.
func newFolder(e *session.Engine, h state.Holder, p state.Proxy, dir string, log *slog.Logger) *folder {
	f := &folder{ledger: e.Ledger, keys: e.Keys, holder: h, proxy: p, dir: dir, log: log, every: time.Minute}
	f.inUse, _ = os.Stat(dir) // if it can't be seen, the first Look takes it for another
	for _, open := range state.OpenParents(dir) {
		log.Warn("the state folder isn't safe from others", "why", open)
	}
	return f
}

// Problem returns why what stands in the state folder's place can't be used, nil if it
// can.
func (f *folder) Problem() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.problem
}

// setProblem notes how the last look went, and logs it if that is new.
func (f *folder) setProblem(err error) {
	f.mu.Lock()
	before := f.problem
	f.problem = err
	f.mu.Unlock()
	switch {
	case err != nil && (before == nil || before.Error() != err.Error()):
		f.log.Error("patrol goes on with what it has in memory: its commands don't find this service, and what it is still to revoke may be forgotten when it ends", "err", err, "mend", cli.HintOf(err))
	case err == nil && before != nil:
		f.log.Info("the state folder can be used again", "folder", f.dir)
	}
}

// AwaitReplaced returns once another folder stands where the state folder was and holds
// our ledger, or ctx is done.
func (f *folder) AwaitReplaced(ctx context.Context) {
	tick := time.NewTicker(f.every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if f.Look() {
			return
		}
	}
}

// Look looks whether the folder is still the one that was opened, by device and inode.
// Another one comes into use if it is ours and no other patrol has it: then the ledger
// there is taken over, and Look reports true. What is missing is made anew.
func (f *folder) Look() (replaced bool) {
	info, err := os.Stat(f.dir)
	switch {
	case err == nil && f.inUse != nil && os.SameFile(info, f.inUse):
		f.setProblem(nil)
		if f.keys.Missing() {
			f.restoreKeys()
		}
		return false
	case err == nil:
		err = state.CheckPrivate(f.dir)
	case errors.Is(err, fs.ErrNotExist):
		err = nil // the ledger makes it
	}
	if err == nil {
		err = f.ledger.Save()
	}
	if err == nil {
		info, err = os.Stat(f.dir)
	}
	if err != nil {
		err = cli.Hinted(fmt.Errorf("another folder stands where the state folder %s was, or none: %w", f.dir, err), "put the old one back, or remove what stands there: it is made anew within a minute")
	}
	f.setProblem(err)
	if err != nil {
		return false
	}
	f.inUse = info
	if err := errors.Join(f.holder.Write(f.dir), f.proxy.Write(f.dir)); err != nil {
		f.log.Warn("who has the state folder can't be noted there", "err", err)
	}
	f.restoreKeys()
	f.log.Warn("another folder stood where the state folder was, or none: the ledger is there again, and the control socket is opened anew", "folder", f.dir)
	return true
}

// restoreKeys has the client keys that are lost written again.
func (f *folder) restoreKeys() {
	if err := f.reloadKeys(); err != nil {
		f.log.Error("the client keys can't be written again: commands and agents that are started now don't know them", "err", err, "mend", cli.HintOf(err))
	}
}

// runControl answers on the control socket until ctx is done. Where another folder has
// taken the state folder's place, it is opened there anew.
func (s *Service) runControl(ctx context.Context) error {
	for {
		serving, end := context.WithCancel(ctx)
		watched := make(chan struct{})
		go func() { // a disk that doesn't answer holds it up, and nobody at the end
			defer close(watched)
			defer end()
			s.folder.AwaitReplaced(serving)
		}()
		err := s.serveControl(serving)
		end()
		if err != nil || ctx.Err() != nil {
			return err
		}
		<-watched
		s.control, err = control.Listen(s.info.State, s.log)
		if err != nil {
			s.log.Error("the control socket can't be made: patrol's commands don't find this service until it can be", "err", err)
		}
	}
}

// serveControl answers on the control socket until ctx is done. Where the disk refuses
// the socket, it tries again.
func (s *Service) serveControl(ctx context.Context) error {
	const pause = 30 * time.Second
	for s.control == nil {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
		var err error
		if s.control, err = control.Listen(s.info.State, s.log); err == nil {
			s.log.Info("the control socket has been made")
		}
	}
	return control.Serve(ctx, s.control, control.Handler(s, s.log), s.log, shutdownGrace)
}
