//go:build unix

package rotator_test

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/robfig/cron/v3"

	"patrol/rotator"
	"patrol/rotator/pat"
	"patrol/rotator/processtest"
	"patrol/rotator/workspacetest"
)

// serving is the role of a service whose tokens live for seconds. It says on
// stdout how it is, each time that this changes, and ends with its stdin.
func serving(args []string) int {
	const life = 3 * time.Second
	m := machine{dir: args[0], host: args[1]}
	schedule, err := cron.ParseStandard("@every 1s")
	if err != nil {
		return 1
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	r, err := m.start(log, time.Now, func(cfg *rotator.Config) {
		cfg.Lifetime, cfg.Schedule = life, schedule
		if minter := os.Getenv(minterVar); minter != "" {
			cfg.MintAs = cfg.Workspace.As(pat.New(minter, m.host))
		}
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer r.stop()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		_, _ = bufio.NewReader(os.Stdin).ReadByte()
		cancel()
	}()
	go func() {
		said := ""
		for ; ctx.Err() == nil; time.Sleep(5 * time.Millisecond) {
			s := r.Status()
			now := "ready " + s.Token.ID
			if !s.Ready {
				now = "not ready: " + s.Problem
			}
			if now != said {
				fmt.Println(now)
				said = now
			}
		}
	}()
	_ = r.Start(ctx)
	_ = r.Run(ctx)
	return 0
}

const minterVar = "PATROL_TEST_MINTER"

func init() { roles["serve"] = serving }

// TestStopped stops a service for longer than its tokens live, as a debugger or
// a container's runtime does, and lets it go on. The chain is dead then: with
// minting rights it begins a new one by itself, and otherwise it says so.
func TestStopped(t *testing.T) {
	for _, rights := range []bool{true, false} {
		t.Run(fmt.Sprintf("minting rights %v", rights), func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			minter := s.ws.Issue(workspacetest.IssueOptions{Comment: "minter"})
			s.foreign = append(s.foreign, minter.ID)
			s.write(t, s.ws.Issue(workspacetest.IssueOptions{Lifetime: time.Hour}).Value)
			cmd := processtest.Command("serve", s.dir, s.host)
			if rights {
				cmd.Env = append(cmd.Env, minterVar+"="+minter.Value)
			}
			cmd.Stderr = s.logs
			in, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			hung := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
			defer func() {
				hung.Stop()
				_ = cmd.Process.Signal(syscall.SIGCONT)
				_ = in.Close()
				if err := cmd.Wait(); err != nil || t.Failed() {
					t.Errorf("%v; log:\n%s", err, s.logs)
				}
			}()
			says := bufio.NewScanner(out)
			s.await("it uses a token of its own", func() bool {
				return says.Scan() && s.minted(strings.TrimPrefix(says.Text(), "ready "))
			})
			s.await("the bootstrap token is revoked", func() bool {
				time.Sleep(10 * time.Millisecond)
				return len(s.ws.Live()) == len(s.foreign)+1
			})
			if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
				t.Fatal(err)
			}
			s.await("its tokens have expired", func() bool {
				time.Sleep(10 * time.Millisecond)
				return len(s.ws.Live()) == len(s.foreign)
			})
			if err := cmd.Process.Signal(syscall.SIGCONT); err != nil {
				t.Fatal(err)
			}
			if !rights {
				s.await("it says that the chain is dead", func() bool {
					return says.Scan() && strings.HasPrefix(says.Text(), "not ready") && strings.Contains(says.Text(), "patrol login")
				})
				if s.minted("") {
					t.Error("a token was minted without rights")
				}
				s.write(t, s.ws.Issue(workspacetest.IssueOptions{Lifetime: time.Hour}).Value)
			}
			s.await("it has a token that works", func() bool {
				return says.Scan() && s.minted(strings.TrimPrefix(says.Text(), "ready "))
			})
		})
	}
}

// minted reports whether the token with this id lives and was minted by patrol;
// "": whether there is any.
func (s *site) minted(id string) bool {
	return slices.ContainsFunc(s.ws.Live(), func(t workspacetest.Token) bool { return t.Minted && (t.ID == id || id == "") })
}
