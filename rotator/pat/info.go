package pat

import "time"

// Info is what a workspace tells about a token: all but its value.
type Info struct {
	ID      string    `json:"id,omitempty"` // the workspace's token_id; empty if it isn't known
	Comment string    `json:"comment,omitempty"`
	Scopes  []string  `json:"scopes,omitempty"` // nil if it has none or they aren't known
	Created time.Time `json:"created,omitzero"` // by the workspace's clock; zero if it isn't known
	Expiry  time.Time `json:"expiry,omitzero"`  // by the workspace's clock; zero if it isn't known or the token never expires
}

// String returns the start of the token's id, as Token's does.
func (i Info) String() string { return Token{ID: i.ID}.String() }
