package rotator_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"patrol/rotator/workspacetest"
)

var (
	seeds = flag.Int("seeds", 5, "how many years TestSimulation simulates")
	seed  = flag.Uint64("seed", 0, "the one seed that TestSimulation simulates; 0: -seeds of them")
)

// TestSimulation lives through a year of three-hour rotations in which
// everything fails now and then: the workspace, the files, the clock, the
// machine. After each step it checks what must hold at every instant.
//
// Most of a day is slept through: the wall clocks move on and nothing runs, as
// on a laptop. Rotations, graces and retries run in the minutes between.
func TestSimulation(t *testing.T) {
	if *seed != 0 {
		simulate(t, *seed)
		return
	}
	for range *seeds {
		s := rand.Uint64()
		t.Run(fmt.Sprint(s), func(t *testing.T) {
			t.Parallel()
			simulate(t, s)
		})
	}
}

// simulation is a house in a world of chance.
type simulation struct {
	*house
	rng  *rand.Rand
	step int

	mu      sync.Mutex // of what the workspace's goroutines use
	chance  *rand.Rand
	rate    float64       // of requests that fail
	asleep  time.Duration // by how much the workspace's clock is ahead of the bubble's
	foreign []string      // ids of tokens that aren't ours

	mayDie   bool // the chain's token expired in a sleep
	logins   int
	rotated  int
	faulted  int
	restarts int
}

func simulate(t *testing.T, seed uint64) {
	synctest.Test(t, func(t *testing.T) {
		s := &simulation{rng: rand.New(rand.NewPCG(seed, 1)), chance: rand.New(rand.NewPCG(seed, 2))}
		s.house = &house{
			T: t, dir: memoryDir(t), logs: new(tail), lifetime: 4 * time.Hour, grace: 5 * time.Minute,
			schedule: every(t, "0 */3 * * *"),
		}
		s.ws = workspacetest.New(workspacetest.Config{Now: s.serverNow, Fault: s.fault, KeepRequests: -1})
		defer func() {
			if t.Failed() {
				t.Logf("-seed=%d failed in step %d", seed, s.step)
			}
		}()
		s.writeProfile("")
		s.login()
		for range 3 {
			s.foreign = append(s.foreign, s.ws.Issue(workspacetest.IssueOptions{Comment: "CI"}).ID)
		}
		s.foreign = append(s.foreign, s.ws.Issue(workspacetest.IssueOptions{Comment: "patrol/other-01234567/89abcdef01234567"}).ID)
		s.serve()
		defer func() { s.close() }()
		const year = 365 * 24 / 3
		for s.step = range year {
			s.live3h()
			if t.Failed() {
				return
			}
		}
		s.calm()
		s.close()
		s.checkCanary()
		ours := len(s.ws.Tokens()) - len(s.foreign)
		t.Logf("seed %d: %d tokens of ours, %d faults, %d restarts, %d logins", seed, ours, s.faulted, s.restarts, s.logins)
	})
}

// memoryDir is a folder that costs no disk: a simulation syncs some 100,000
// times.
func memoryDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "patrol-simulation-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// serverNow is the workspace's clock, which nobody steps.
func (s *simulation) serverNow() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Now().Add(s.asleep)
}

// sleep is a laptop's: the wall clocks go on and nothing runs. A token that
// expires in it, or too soon after it to be replaced, may end the chain.
func (s *simulation) sleep(d time.Duration) {
	const margin = 45 * time.Minute
	for _, t := range s.ws.Live() {
		if wakes := s.serverNow().Add(d); t.Value == s.profileToken() && t.Expiry.Before(wakes.Add(margin)) {
			s.mayDie = true
		}
	}
	s.mu.Lock()
	s.asleep += d
	s.mu.Unlock()
	s.clock.Add(int64(d))
	synctest.Wait()
}

// fault is what goes wrong with a request.
func (s *simulation) fault(r *http.Request) *workspacetest.Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.chance.Float64() >= s.rate {
		return nil
	}
	s.faulted++
	answers := []workspacetest.Fault{
		{Status: 500, Body: `{"error_code":"INTERNAL_ERROR","message":"x"}`},
		{Status: 503, Body: `{"error_code":"TEMPORARILY_UNAVAILABLE","message":"x"}`},
		{Status: 429, Body: `{"error_code":"REQUEST_LIMIT_EXCEEDED","message":"Exceeded workspace rate limit"}`},
		{Status: 502, Body: "<html><body><pre>bad gateway</pre></body></html>"},
		{Status: 403, Body: `{"error_code":"PERMISSION_DENIED","message":"no"}`},
	}
	f := answers[s.chance.IntN(len(answers))]
	effects := []workspacetest.Effect{
		workspacetest.Slow, workspacetest.Answer, workspacetest.Empty, workspacetest.Hang,
		workspacetest.Reset, workspacetest.Close, workspacetest.Break,
	}
	f.Effect = effects[s.chance.IntN(len(effects))]
	f.After = s.chance.IntN(2) == 0 && (f.Effect != workspacetest.Answer || f.Status >= 500) // who refuses doesn't do it
	if s.chance.IntN(3) == 0 {
		f.Delay = time.Duration(s.chance.Int64N(int64(20 * time.Second)))
	}
	return &f
}

// live3h lives through three hours.
func (s *simulation) live3h() {
	awake := 2*time.Minute + time.Duration(s.rng.Int64N(int64(10*time.Minute)))
	s.setRate([]float64{0, 0, 0, 0.05, 0.3}[s.rng.IntN(5)])
	switch s.rng.IntN(40) {
	case 0: // nothing works for a while
		s.setRate(1)
		s.awake(time.Duration(s.rng.Int64N(int64(20 * time.Minute))))
		s.setRate(0)
	case 1: // a long sleep
		s.sleep(time.Duration(s.rng.Int64N(int64(72 * time.Hour))))
	case 2, 3: // the clock is set, and set right an hour later
		d := time.Duration(s.rng.Int64N(int64(20*time.Hour))) - 10*time.Hour
		s.clock.Add(int64(d))
		s.awake(time.Hour)
		s.clock.Add(-int64(d))
	case 4, 5, 6: // a restart
		s.restarts++
		s.close()
		s.sleep(time.Duration(s.rng.Int64N(int64(5 * time.Hour))))
		s.serve()
	case 7: // an agent's file is broken, and mended
		s.write(s.claudePath(), `{"env": {"ANTHROPIC_BASE_URL": "http://localhost:4000", "ANTHROPIC_AUTH_TOKEN": "`+s.profileToken())
		s.awake(time.Duration(s.rng.Int64N(int64(time.Hour))))
		s.write(s.claudePath(), `{"env": {"ANTHROPIC_BASE_URL": "http://localhost:4000"}}`)
	case 8: // the profile can't be replaced
		good := s.read(s.cfgPath())
		s.write(s.cfgPath(), good+"client_id = x\nclient_secret = y\n")
		s.awake(time.Duration(s.rng.Int64N(int64(10 * time.Minute))))
		s.write(s.cfgPath(), strings.Replace(s.read(s.cfgPath()), "client_id = x\nclient_secret = y\n", "", 1))
	case 9: // somebody puts an old file back
		old := s.read(s.cfgPath())
		s.awake(4 * time.Minute)
		s.write(s.cfgPath(), old)
	case 10: // somebody asks for a rotation
		_, _ = s.r.Rotate(s.Context(), "asked")
	}
	s.awake(awake)
	if rest := 3*time.Hour - awake; rest > 0 {
		s.sleep(time.Duration(s.rng.Int64N(int64(rest))))
		s.awake(time.Duration(s.rng.Int64N(int64(time.Minute))))
	}
}

func (s *simulation) setRate(rate float64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rate = rate
}

// awake lets time pass in which patrol runs, and checks.
func (s *simulation) awake(d time.Duration) {
	for d > 0 {
		part := min(d, 5*time.Minute)
		s.pass(part)
		d -= part
		s.check()
	}
}

// check looks at the invariants.
func (s *simulation) check() {
	s.Helper()
	tokens := s.ws.Tokens()
	byValue := map[string]workspacetest.Token{}
	for _, t := range tokens {
		byValue[t.Value] = t
		if t.Revoked && slices.Contains(s.foreign, t.ID) {
			s.Fatalf("I2: a token that isn't ours was revoked\n%s", s.story())
		}
	}
	inFile, inProxy := s.profileToken(), s.proxy.token().Expose()
	for place, value := range map[string]string{"the profile": inFile, "the proxy": inProxy} {
		if byValue[value].Revoked {
			s.Fatalf("I1: %s holds a token that was revoked\n%s", place, s.story())
		}
	}
	pending := s.ledger.Pending()
	for _, t := range tokens {
		if t.Revoked || !t.Expiry.After(s.serverNow()) || !strings.HasPrefix(t.Comment, "patrol/"+s.ledger.Instance()+"/") || t.Value == inProxy {
			continue
		}
		known := false
		for _, e := range pending {
			known = known || e.ID == t.ID || e.Comment == t.Comment
		}
		if !known {
			s.Fatalf("I2: token %s lives, isn't in use, and the ledger has forgotten it\n%s", t.ID, s.story())
		}
	}
	if cfg := s.read(s.cfgPath()); !strings.HasPrefix(cfg, "[DEFAULT]\nhost = "+host+"\n") || strings.Count(cfg, "token = ") > 1 {
		s.Fatalf("I3: the profile became\n%s", cfg)
	}
	s.survive()
}

// survive brings a new token if the chain died and had the right to.
func (s *simulation) survive() {
	s.Helper()
	works := slices.ContainsFunc(s.ws.Live(), func(t workspacetest.Token) bool { return t.Value == s.profileToken() })
	switch {
	case works && s.r.Ready() == nil:
		s.mayDie = false
		return
	case works || s.r.Ready() == nil:
		return // patrol will find out
	case !s.mayDie:
		s.Fatalf("the chain died while patrol ran\n%s", s.story())
	}
	s.setRate(0)
	s.pass(time.Minute)
	s.login()
	s.pass(2 * time.Minute)
	if err := s.r.Ready(); err != nil {
		s.Fatalf("a new token stands in the profile: %v\n%s", err, s.story())
	}
}

// login puts a new token into the profile, as a person does.
func (s *simulation) login() {
	s.Helper()
	s.logins++
	tok := s.ws.Issue(workspacetest.IssueOptions{Lifetime: 24 * time.Hour})
	s.writeProfile(tok.Value)
}

// calm lets everything settle: one token of ours lives.
func (s *simulation) calm() {
	s.Helper()
	s.setRate(0)
	s.pass(time.Hour)
	s.survive()
	s.pass(time.Hour)
	live := slices.DeleteFunc(s.ws.Live(), func(t workspacetest.Token) bool { return slices.Contains(s.foreign, t.ID) })
	if len(live) != 1 || live[0].Value != s.profileToken() || live[0].Value != s.proxy.token().Expose() {
		s.Fatalf("%d tokens of ours live in the end, want the one in use\n%s", len(live), s.story())
	}
}
