package control

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"patrol/cmd/patrol/internal/cli"
	"patrol/proxy"
	"patrol/proxy/guard"
	"patrol/rotator"
	"patrol/rotator/pat"
)

// Version is which questions the control socket answers: it grows with each new
// one. Version 1 does not say it.
const Version = 3

// StartAgain is what to do about an older service.
const StartAgain = "start it again, to have it run what is installed: systemctl --user restart patrol; or end it, and: patrol serve"

// A Ping is who a service is.
type Ping struct {
	Control int       `json:"control,omitempty"` // its control.Version
	PID     int       `json:"pid"`
	Version string    `json:"version"`
	Since   time.Time `json:"since"`
	Listen  []string  `json:"listen"`
	Host    string    `json:"host"`
	Profile string    `json:"profile"`
	State   string    `json:"state_dir"`

	// Network is the service's network namespace, "" where the owner of a client's
	// socket can't be looked up.
	Network string `json:"network,omitempty"`

	Schedule    string `json:"schedule,omitempty"`     // of --schedule
	MintProfile string `json:"mint_profile,omitempty"` // of --mint-profile
}

// Older reports whether a command of this version may ask what the service can't
// answer.
func (p Ping) Older() bool { return p.Control < Version }

// KnowsOwner reports whether the service can look up that a client in this process's
// network belongs to its user, who then needs no key.
func (p Ping) KnowsOwner() bool { return p.Network != "" && p.Network == Network() }

// ListensOn reports whether a program in the service's network that asks for addr gets
// to its proxy.
func (p Ping) ListensOn(addr netip.AddrPort) bool {
	return slices.ContainsFunc(p.Listen, func(l string) bool {
		ln, err := netip.ParseAddrPort(l)
		return err == nil && cli.Reaches(addr, ln)
	})
}

// Addresses names where the proxy listens, for people.
func (p Ping) Addresses() string { return strings.Join(p.Listen, " and ") }

// A Rotation is what a rotation did.
type Rotation struct {
	Token  rotator.TokenInfo  `json:"token"`
	Old    rotator.TokenInfo  `json:"old"` // zero if there was none
	Joined bool               `json:"joined"`
	Took   float64            `json:"took_seconds"`
	Files  []rotator.FileInfo `json:"files"`

	// Of a login: whose the token is, and whose the one before was.
	User       string `json:"user,omitempty"`
	UserBefore string `json:"user_before,omitempty"`

	// Where no service runs:
	Another  bool      `json:"-"` // another patrol has just done it
	OldToken pat.Token `json:"-"` // is Old
}

// secret is the current token itself. It goes over the control socket only, to
// whoever may read the files that hold it anyway.
type secret struct {
	Token string `json:"token"`
}

// A Status is what "patrol status --json" prints.
type Status struct {
	Running    bool  `json:"running"`
	NeedsLogin bool  `json:"needs_login"` // a new token would mend it
	Service    *Ping `json:"service"`     // if none runs, only its profile and state
	rotator.Status
	Proxy *Proxy `json:"proxy,omitempty"` // nil if no service runs
}

// A Proxy counts what came to the proxy since the service's start.
type Proxy struct {
	proxy.Stats

	// Refused counts whom the guard turned away, or made wait ("full"), by the
	// reason that the log gives.
	Refused map[string]uint64 `json:"refused"`

	// Clients counts the requests that the guard let in, by the client's key.
	Clients []guard.ClientUse `json:"clients"`

	// ReplacedTokenAt is when an agent was let in last by a token that was replaced.
	ReplacedTokenAt time.Time `json:"replaced_token_at,omitzero"`
}

// Problems says what is wrong, one sentence each; nothing if all is well.
func (s Status) Problems() []string {
	var all []string
	if s.Problem != "" {
		all = append(all, s.Problem)
	}
	if s.Last.Error != "" && s.Last.Error != s.Problem {
		all = append(all, "the last rotation failed, why stands below")
	}
	if s.Ledger != "" {
		all = append(all, "the ledger can't be written: "+s.Ledger)
	}
	for _, f := range s.Files {
		if f.Error != "" {
			all = append(all, f.Path+" can't be written, why stands below")
		}
	}
	return all
}
