package rotator_test

import (
	"cmp"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"patrol/rotator/workspacetest"
)

var (
	seeds = flag.Int("seeds", years, "how many years TestSimulation simulates")
	seed  = flag.Uint64("seed", 0, "the one seed that TestSimulation simulates; 0: -seeds of them")
)

// TestSimulation lives through a year of three-hour rotations in which
// everything fails now and then: the workspace, the files, the clock, the
// machine. After each step it checks what must hold at every instant.
//
// Most of a day is slept through: the wall clocks move on and nothing runs, as
// on a laptop. Rotations, graces and retries run in the minutes between.
//
// A seed fixes what the world does, not how patrol's goroutines and its jitter
// fall: run one that failed several times.
func TestSimulation(t *testing.T) {
	if *seed != 0 {
		simulate(t, *seed)
		return
	}
	defer debug.SetGCPercent(debug.SetGCPercent(400)) // a year makes 3 GB of garbage
	todo := make(chan uint64)
	var work sync.WaitGroup
	// More at once than -parallel allows: a year alone is passed to and fro
	// between the processors, and the last one would keep one of them idle.
	for range max(5, 2*runtime.GOMAXPROCS(0)) {
		work.Go(func() {
			for s := range todo {
				t.Run(fmt.Sprint(s), func(t *testing.T) { simulate(t, s) })
			}
		})
	}
	for range *seeds {
		todo <- rand.Uint64()
	}
	close(todo)
	work.Wait()
}

// simulation is a house in a world of chance.
type simulation struct {
	*house
	rng  *rand.Rand
	step int

	mu      sync.Mutex // of what the workspace's goroutines use
	chance  *rand.Rand
	rate    float64         // of requests that fail
	down    bool            // the workspace is: see outage
	calls   calls           // while it is
	asleep  time.Duration   // by how much the workspace's clock is ahead of the bubble's
	foreign []string        // ids of tokens that aren't ours
	ends    map[string]bool // by the value of a token that is dead: whether it was revoked

	putBack  string // a token that somebody has put back into the profile
	doomed   string // a token that expires in a sleep, or too soon after it to be replaced
	logins   int
	faulted  int
	restarts int
	diary    []string // what the world did, for whoever looks into a failure
}

func (s *simulation) note(what string, d time.Duration) {
	s.diary = append(s.diary, fmt.Sprintf("step %d, %s (%s in the log): %s %v",
		s.step, s.serverNow().Format(time.DateTime), time.Now().Format(time.DateTime), what, d.Round(time.Second)))
}

// yearSteps is how long a seed lives, and enough how many rotations it must live
// through, however many steps that takes.
const (
	yearSteps = 365 * 24 / 3
	enough    = 2900
)

func simulate(t *testing.T, seed uint64) {
	synctest.Test(t, func(t *testing.T) {
		s := &simulation{rng: rand.New(rand.NewPCG(seed, 1)), chance: rand.New(rand.NewPCG(seed, 2)), ends: map[string]bool{}}
		s.house = &house{
			T: t, dir: memoryDir(t), logs: new(tail), lifetime: 4 * time.Hour, grace: 2 * time.Minute,
			schedule: every(t, "0 */3 * * *"),
		}
		s.ws = workspacetest.New(workspacetest.Config{Now: s.serverNow, Fault: s.fault, NoRecord: true})
		s.way = &witness{way: s.ws.Transport(), saw: s.sawCall}
		defer func() {
			if t.Failed() {
				t.Logf("-seed=%d failed in step %d\n%s", seed, s.step, strings.Join(s.diary[max(0, len(s.diary)-20):], "\n"))
			}
		}()
		s.writeProfile("")
		s.login()
		for range 2 {
			s.foreign = append(s.foreign, s.ws.Issue(workspacetest.IssueOptions{Comment: "CI"}).ID)
		}
		s.foreign = append(s.foreign, s.ws.Issue(workspacetest.IssueOptions{Comment: "patrol/other-01234567/89abcdef01234567"}).ID)
		s.serve()
		defer func() { s.close() }()
		for s.step = 0; s.step < yearSteps/yearParts || s.rotated() < enough/yearParts; s.step++ {
			s.live3h()
			if s.step > 2*yearSteps {
				t.Fatalf("%d rotations in two years", s.rotated())
			}
		}
		s.calm()
		s.close()
		s.checkCanary()
		t.Logf("seed %d: %d steps, %d rotations, %d faults, %d restarts, %d logins", seed, s.step, s.rotated(), s.faulted, s.restarts, s.logins)
	})
}

// memoryDir is a folder that costs no disk: a simulation syncs some 100,000
// times.
func memoryDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "patrol-simulation-") //nolint:usetesting // t.TempDir is on the disk
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// rotated is how many rotations there were.
func (s *simulation) rotated() int { return strings.Count(s.logs.String(), " msg=rotated ") }

// serverNow is the workspace's clock, which nobody steps.
func (s *simulation) serverNow() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Now().Add(s.asleep)
}

// sleep is a laptop's: the wall clocks go on and nothing runs. A token that
// expires in it, or too soon after it, may end the chain.
func (s *simulation) sleep(d time.Duration) {
	if d <= 0 {
		return
	}
	const margin = 45 * time.Minute
	inUse, wakes := cmp.Or(s.proxy.token().Expose(), s.tokenInFile()), s.serverNow().Add(d)
	for _, t := range s.ws.Live() {
		if t.Value == inUse && t.Expiry.Before(wakes.Add(margin)) {
			s.doomed = inUse
		}
	}
	s.note("asleep for", d)
	s.mu.Lock()
	s.asleep += d
	s.mu.Unlock()
	s.clock.Add(int64(d))
	synctest.Wait()
}

// fault is what goes wrong with a request.
func (s *simulation) fault(*http.Request) *workspacetest.Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		return downFault(s.chance)
	}
	if s.chance.Float64() >= s.rate {
		return nil
	}
	s.faulted++
	return anyFault(s.chance)
}

// anyFault is one of all that can go wrong with a call.
func anyFault(chance *rand.Rand) *workspacetest.Fault {
	answers := []workspacetest.Fault{
		{Status: 500, Body: `{"error_code":"INTERNAL_ERROR","message":"x"}`},
		{Status: 503, Body: `{"error_code":"TEMPORARILY_UNAVAILABLE","message":"x"}`},
		{Status: 429, Body: `{"error_code":"REQUEST_LIMIT_EXCEEDED","message":"Exceeded workspace rate limit"}`},
		{Status: 502, Body: "<html><body><pre>bad gateway</pre></body></html>"},
		{Status: 403, Body: `{"error_code":"PERMISSION_DENIED","message":"no"}`},
		{Status: 403, Body: `{"error_code":403,"message":"Invalid access token."}`}, // which is a lie
	}
	f := answers[chance.IntN(len(answers))]
	effects := []workspacetest.Effect{
		workspacetest.Slow, workspacetest.Answer, workspacetest.Empty, workspacetest.Hang,
		workspacetest.Reset, workspacetest.Close, workspacetest.Break,
	}
	f.Effect = effects[chance.IntN(len(effects))]
	f.After = chance.IntN(2) == 0 && (f.Effect != workspacetest.Answer || f.Status >= 500) // who refuses doesn't do it
	if chance.IntN(3) == 0 {
		f.Delay = time.Duration(chance.Int64N(int64(20 * time.Second)))
	}
	return &f
}

// live3h lives through three hours, or more if something happens that takes
// longer.
func (s *simulation) live3h() {
	end := s.serverNow().Add(3 * time.Hour)
	s.setRate([]float64{0, 0, 0, 0.05, 0.3}[s.rng.IntN(5)])
	s.mishap()
	s.awake(time.Minute + s.upTo(7*time.Minute))
	s.sleep(end.Sub(s.serverNow())/2 + s.upTo(10*time.Minute) - 5*time.Minute)
	s.awake(40*time.Second + s.upTo(time.Minute)) // long enough to notice that a tick was slept through
	s.sleep(end.Sub(s.serverNow()))
}

// mishap is what happens besides, in one step of five or so.
func (s *simulation) mishap() {
	switch s.rng.IntN(80) {
	case 0, 1: // nothing works for a while
		if s.rng.IntN(16) == 0 {
			s.outage(s.upTo(72 * time.Hour))
			return
		}
		s.setRate(1)
		s.awake(s.upTo(20 * time.Minute))
		s.setRate(0)
	case 2: // a long sleep
		s.sleep(s.upTo(72 * time.Hour))
	case 3, 4: // the clock is set, and set right an hour later
		// Not in the instant of waking: that looks like a shorter sleep, and
		// no clock that patrol has would tell.
		s.awake(time.Minute)
		d := s.upTo(20*time.Hour) - 10*time.Hour
		s.note("the clock is set by", d)
		s.clock.Add(int64(d))
		s.awake(time.Hour)
		s.clock.Add(-int64(d))
	case 5, 6: // a restart
		s.off(s.upTo(time.Hour))
	case 7: // a machine that is off for long
		s.off(s.upTo(6 * time.Hour))
	case 8, 9: // an agent's file is broken, and mended
		s.note("Claude's file is broken", 0)
		s.write(s.claudePath(), `{"env": {"ANTHROPIC_BASE_URL": "`+s.host()+`", "ANTHROPIC_AUTH_TOKEN": "`+s.tokenInFile())
		s.awake(s.upTo(time.Hour))
		s.write(s.claudePath(), `{"env": {"ANTHROPIC_BASE_URL": "`+s.host()+`"}}`)
	case 10, 11: // the profile can't be replaced
		s.note("the profile can't be written", 0)
		s.write(s.cfgPath(), s.read(s.cfgPath())+otherAuth)
		s.awake(s.upTo(10 * time.Minute))
		s.write(s.cfgPath(), strings.Replace(s.read(s.cfgPath()), otherAuth, "", 1))
	case 12, 13: // somebody puts an old file back
		s.note("an old profile will be put back", 0)
		old := s.read(s.cfgPath())
		s.putBack = s.tokenInFile()
		s.awake(4 * time.Minute)
		s.write(s.cfgPath(), old)
	case 14, 15: // somebody asks for a rotation
		s.note("a rotation is asked for", 0)
		_, _ = s.r.Rotate(s.Context(), "asked")
	case 16: // patrol ends with old tokens in its queue
		s.note("a rotation is asked for, and a restart", 0)
		_, _ = s.r.Rotate(s.Context(), "asked")
		s.off(s.upTo(10 * time.Minute))
		s.settle()
	}
}

// off is a machine that is off, or a patrol that isn't started.
func (s *simulation) off(d time.Duration) {
	s.restarts++
	s.note("patrol ends", 0)
	s.close()
	s.sleep(d)
	s.serve()
}

// upTo is a random time of less than most, 0 if there is none.
func (s *simulation) upTo(most time.Duration) time.Duration {
	if most <= 0 {
		return 0
	}
	return time.Duration(s.rng.Int64N(int64(most)))
}

func (s *simulation) setRate(rate float64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rate = rate
}

// awake lets time pass in which patrol runs, and checks.
func (s *simulation) awake(d time.Duration) {
	s.note(fmt.Sprintf("awake, %v of requests fail, for", s.rate), d)
	for d > 0 {
		part := min(d, 5*time.Minute)
		s.pass(part)
		d -= part
		if s.Failed() { // what a goroutine of patrol's came upon
			s.FailNow()
		}
		s.check()
	}
}

// login puts a new token into the profile, as a person does.
func (s *simulation) login() {
	s.Helper()
	s.logins++
	s.note("login", 0)
	tok := s.ws.Issue(workspacetest.IssueOptions{Lifetime: 24 * time.Hour})
	s.writeProfile(tok.Value)
}
