package rotator_test

import (
	"time"

	"patrol/rotator/workspacetest"
)

// A scene is a process that is to be killed, and what it finds.
type scene struct {
	name  string
	role  string
	set   func(s *site)
	end   func(s *site) // brings everything to its end after a kill, and checks that
	calls []string      // requests that it must make
	steps []string      // points that it must come to
}

// scenes are the first rotation, of a token that a person has made, one of a
// token that patrol has minted, and a logout.
var scenes = []scene{
	{"first", "rotate", func(s *site) {
		s.write(s.T, s.ws.Issue(workspacetest.IssueOptions{Lifetime: 24 * time.Hour}).Value)
	}, (*site).recover, rotationCalls, rotationSteps()},
	{"second", "rotate", func(s *site) {
		s.write(s.T, s.ws.Issue(workspacetest.IssueOptions{Lifetime: 24 * time.Hour}).Value)
		s.recover()
		s.ws.Forget()
	}, (*site).recover, rotationCalls, rotationSteps()},
	{"logout", "logout", (*site).signIn, (*site).finishLogout, logoutCalls, logoutSteps()},
}

// begin makes a new site for the scene.
func (s *site) begin(c scene) {
	s.Helper()
	s.fresh()
	s.scene = c
	c.set(s)
}

var rotationCalls = []string{"POST /api/2.0/token/create", "GET /api/2.0/token/list", "POST /api/2.0/token/delete"}

// rotationSteps are the points that a rotation comes to.
func rotationSteps() []string {
	steps := recordSteps("intended", "minted", "probed", "published", "current", "retiring", "revoked")
	return append(steps, fileSteps()...)
}

func recordSteps(stages ...string) (all []string) {
	for _, stage := range stages {
		all = append(all, "before write of "+stage+" to ledger", "before fsync of ledger after "+stage)
	}
	return all
}

// fileSteps are the points that a process comes to that replaces each file.
func fileSteps() []string {
	all := []string{
		"before create of ledger.new", "before write of ledger.new", "before fsync of ledger.new", "before rename of ledger.new",
		"before fsync of state", "before fsync of the home",
	}
	for _, name := range []string{".databrickscfg", "settings.json", "auth.json"} {
		for _, call := range []string{"create", "write", "fsync", "exchange", "unlink"} {
			all = append(all, "before "+call+" of "+name)
		}
	}
	return all
}
