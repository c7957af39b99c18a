package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"patrol/credwriter"
	"patrol/rotator"
	"patrol/rotator/ledger"
	"patrol/rotator/pat"
	"patrol/rotator/workspace"
)

// How long others are waited for.
const (
	// dialPatience is how long a running service may take to say that it is
	// there. It does so at once, unless it was stopped.
	dialPatience = 3 * time.Second

	// lockPatience is how long another patrol may hold the state without
	// being a service: one that rotates once, starts or ends.
	lockPatience = 30 * time.Second
)

// locate returns the profile that a command is about and its state folder.
// Neither need exist.
func (a *app) locate(o options) (p selection, dir string, err error) {
	if p, err = a.selectProfile(o); err != nil {
		return p, "", err
	}
	dir, err = a.stateDir(o, p.name)
	return p, dir, err
}

// locateKnown is locate for commands that only look: a profile that was named
// must exist, or have a state.
func (a *app) locateKnown(o options) (p selection, dir string, err error) {
	if p, dir, err = a.locate(o); err != nil {
		return p, dir, err
	}
	if _, err := os.Stat(dir); err == nil {
		return p, dir, nil
	}
	_, err = a.existingProfile(o)
	return p, dir, err
}

// acquire opens the ledger of a state folder. If a service runs with it, it
// returns that service instead; one that doesn't answer is an error. For a patrol
// that holds the ledger and is no service it waits as long as patience; a service
// waits until it has ended. command is what others are told of us.
func (a *app) acquire(ctx context.Context, command string, p selection, dir, instance string, patience time.Duration, log *slog.Logger) (*ledger.Ledger, *controlClient, error) {
	if err := makePrivateDir(dir); err != nil {
		return nil, nil, err
	}
	const tell, pause = time.Second, 50 * time.Millisecond
	began, told := time.Now(), false
	for {
		led, err := ledger.Open(ledger.Config{Dir: dir, Instance: instance, Log: log})
		if err == nil {
			if err := takeOver(led, command, p, dir); err != nil {
				return nil, nil, errors.Join(err, led.Close())
			}
			return led, nil, nil
		}
		if !errors.Is(err, ledger.ErrLocked) {
			return nil, nil, hinted(err, "patrol must be able to write there, or it would forget what is still to be revoked; --state-dir names another folder")
		}
		service, err := dialProfile(ctx, p, dir, dialPatience)
		if err == nil || !errors.Is(err, errNoService) {
			return nil, service, err
		}
		waited, held := time.Since(began), readHolder(dir)
		if waited > patience && (command != serveCommand || !held.lone()) {
			return nil, nil, held.stillHeld(dir)
		}
		if waited > tell && !told {
			told = true
			what := "waiting for another patrol that is using " + dir
			if held.alive() {
				what += ": " + held.String()
			}
			a.complain("patrol", what)
		}
		select {
		case <-ctx.Done():
			return nil, nil, fmt.Errorf("waiting for another patrol that is using %s: %w", dir, context.Cause(ctx))
		case <-time.After(pause):
		}
	}
}

// takeOver records who has the state now, unless it holds tokens of another
// profile.
func takeOver(led *ledger.Ledger, command string, p selection, dir string) error {
	if last := readHolder(dir); last.Profile != "" && last.Profile != p.name && len(led.Pending()) > 0 {
		return otherProfile(p, dir, last.Profile, "the patrol that left tokens in")
	}
	return holder{PID: os.Getpid(), Command: command, Profile: p.name}.write(dir)
}

// A core is what a service and a lone rotation share: everything that a rotation
// needs, for one profile of one workspace.
type core struct {
	target  target
	ledger  *ledger.Ledger
	client  *workspace.Client
	rotator *rotator.Rotator
	minter  *minter // nil: none
}

// newCore wires the rooms. It sends and changes nothing. The core takes the
// ledger over and must be closed.
func (a *app) newCore(ctx context.Context, o options, t target, led *ledger.Ledger, proxyURL string, handovers chan<- pat.Handover, log *slog.Logger) (*core, error) {
	c := &core{target: t, ledger: led}
	var mintAs *workspace.Session
	roots, err := o.proxy.rootCAs()
	if err == nil {
		c.client, err = workspace.New(workspace.Config{Host: t.workspace.String(), UserAgent: userAgent(), RootCAs: roots, Log: log})
	}
	if err == nil && o.mintProfile != "" {
		if c.minter, err = newMinter(ctx, c.client, t.profile.file, o.mintProfile); err == nil {
			mintAs = c.minter.session
		}
	}
	if err != nil {
		c.close()
		return nil, fmt.Errorf("setting up the workspace's client: %w", err)
	}
	profile, agents, err := a.files(o, t, credwriter.Owner{
		Host:        c.client.Host().String(),
		WorkspaceID: t.workspace.Workspace,
		ProxyURL:    proxyURL,
		Ours:        led.Knows,
	})
	if err != nil {
		c.close()
		return nil, err
	}
	c.rotator, err = rotator.New(rotator.Config{
		Workspace:     c.client,
		MintAs:        mintAs,
		KeepBootstrap: o.keepBootstrap,
		Ledger:        led,
		Handovers:     handovers,
		Profile:       profile,
		Agents:        agents,
		Candidates:    t.candidates,
		Schedule:      o.schedule,
		Lifetime:      o.lifetime,
		Grace:         o.grace,
		Log:           log,
	})
	if err != nil {
		c.close()
		return nil, fmt.Errorf("setting up the rotator: %w", err)
	}
	return c, nil
}

// files returns the credential files that --write selects.
func (a *app) files(o options, t target, owner credwriter.Owner) (profile rotator.File, agents []rotator.File, err error) {
	home, err := a.home()
	if err != nil {
		return nil, nil, err
	}
	_, claude, openCode := credwriter.Paths(a.getenv, home)
	if o.write.Claude {
		agents = append(agents, credwriter.NewClaude(claude, o.write.Create, owner))
	}
	if o.write.OpenCode {
		agents = append(agents, credwriter.NewOpenCode(openCode, o.write.Create, owner))
	}
	return credwriter.NewDatabrickscfg(t.profile.file, t.profile.name, owner), agents, nil
}

// close ends what runs, which may take as long as a rotation that is under way,
// and gives the state back.
func (c *core) close() {
	if c.rotator != nil {
		c.rotator.Close()
	}
	if c.client != nil {
		c.client.Close()
	}
	_ = c.ledger.Close() // it logs what it could not write
}

// userAgent is what the workspace's log shows of us.
func userAgent() string {
	version := versionText()
	if word, _, ok := strings.Cut(version, " "); ok {
		version = word
	}
	return "patrol/" + strings.Trim(version, "()")
}

// atEdge gives errors of the rooms the exit code that they mean to a person.
func atEdge(err error) error {
	if _, ok := errors.AsType[*exitError](err); ok || err == nil {
		return err
	}
	if errors.Is(err, rotator.ErrNeedsLogin) {
		return needsLogin(err, "")
	}
	if _, ok := errors.AsType[*rotator.ConflictError](err); ok {
		return usageError("", "%w", err)
	}
	return err
}
