package main

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"patrol/rotator"
	"patrol/rotator/pat"
)

// A ping is who a service is. It is answered at once, whatever else goes on.
type ping struct {
	PID     int       `json:"pid"`
	Version string    `json:"version"`
	Since   time.Time `json:"since"`
	Listen  []string  `json:"listen"`
	Host    string    `json:"host"`
	Profile string    `json:"profile"`
	State   string    `json:"state_dir"`

	Schedule    string `json:"schedule,omitempty"`     // of --schedule
	MintProfile string `json:"mint_profile,omitempty"` // of --mint-profile
}

// addresses names where the proxy listens, for people.
func (p ping) addresses() string { return strings.Join(p.Listen, " and ") }

// A rotateReply is what a rotation did, as it is told over the control socket
// and printed.
type rotateReply struct {
	Token  tokenReply   `json:"token"`
	Old    tokenReply   `json:"old"`
	Joined bool         `json:"joined"`
	Took   float64      `json:"took_seconds"`
	Files  []fileStatus `json:"files"`

	// Of a login: whose the token is, and whose the one before was.
	User       string `json:"user,omitempty"`
	UserBefore string `json:"user_before,omitempty"`
}

// A tokenReply names a token.
type tokenReply struct {
	ID      string    `json:"id,omitempty"`
	Expires time.Time `json:"expires,omitzero"`
}

// fileStatus is how the last write of a credential file went.
type fileStatus = rotator.FileInfo

// newRotateReply leaves out of r what must not travel.
func newRotateReply(r rotator.Rotation) rotateReply {
	reply := rotateReply{
		Token:  tokenReply{ID: r.Token.ID, Expires: r.Token.Expiry},
		Old:    tokenReply{ID: r.Old.ID, Expires: r.Old.Expiry},
		Joined: r.Joined,
		Took:   r.Took.Seconds(),
		Files:  r.Files,

		User:       r.User,
		UserBefore: r.UserBefore,
	}
	return reply
}

// A secretReply is the current token itself. It goes over the control socket
// only, to whoever may read the files that hold it anyway.
type secretReply struct {
	Token string `json:"token"`
}

// handler answers on the control socket.
func (s *service) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+pingPath, func(w http.ResponseWriter, _ *http.Request) {
		reply(w, s.info, nil)
	})
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, s.report(), nil)
	})
	mux.HandleFunc("GET /upstreams", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, s.proxy.Upstreams(), nil)
	})
	mux.HandleFunc("GET /token", func(w http.ResponseWriter, _ *http.Request) {
		current, err := s.current()
		reply(w, secretReply{Token: current.Expose()}, err)
	})
	mux.HandleFunc("POST /rotate", func(w http.ResponseWriter, r *http.Request) {
		rotation, err := s.rotator.Rotate(r.Context(), "patrol rotate")
		reply(w, newRotateReply(rotation), s.rotationFailed(err))
	})
	mux.HandleFunc("POST /login", func(w http.ResponseWriter, r *http.Request) {
		var secret secretReply
		if err := json.NewDecoder(r.Body).Decode(&secret); err != nil || secret.Token == "" {
			reply(w, nil, usageError("", "the request holds no token"))
			return
		}
		rotation, err := s.rotator.Login(r.Context(), pat.New(secret.Token, s.client.Host().String()))
		if err != nil {
			err = loginFailed(err, rotation)
		}
		reply(w, newRotateReply(rotation), err)
	})
	mux.HandleFunc("POST /logout", func(w http.ResponseWriter, r *http.Request) {
		// Whoever asked may leave: a logout isn't left half done.
		d, err := s.rotator.Logout(context.WithoutCancel(r.Context()))
		reply(w, d, err)
	})
	return mux
}

// current returns the token in use.
func (s *service) current() (pat.Token, error) {
	if err := s.rotator.Ready(); err != nil {
		return pat.Token{}, atEdge(err)
	}
	if t := s.rotator.Current(); !t.IsZero() && !t.Expired(time.Now()) {
		return t, nil
	}
	return pat.Token{}, needsLogin(errors.New("the token in use has expired"), "patrol login gives the service a new one")
}

// report returns the service's status.
func (s *service) report() statusReport {
	n, status := s.proxy.Stats(), s.rotator.Status()
	status.Files = s.fileStatuses()
	if err := s.ready(); err != nil && !status.Ready {
		status.Problem = err.Error()
	}
	return statusReport{
		Running:    true,
		NeedsLogin: errors.Is(s.rotator.Ready(), rotator.ErrNeedsLogin),
		Service:    &s.info,
		Status:     status,
		Proxy: &proxyStatus{
			Requests: n.Requests, Waited: n.Waited, NoToken: n.NoToken, Failed: n.Failed, Stale: n.Stale, Resets: n.Resets, Unkept: n.Unkept,
			Refused: s.guard.Counters(),
		},
	}
}
