package ledger

// logout is the nonce of the entry that says whether the user has logged out.
// It is about no token.
const logout = "logout"

// LogOut records that the user has logged out, and the hashes of the tokens
// that were on the machine then and that the ledger has no entry for. It returns
// once that is on the disk, and holds across restarts.
func (l *Ledger) LogOut(seen []string) error {
	// Without a hash the entry would be forgotten as one of no token.
	return l.Put(Entry{Nonce: logout, Hash: logout, Stage: Left, Reason: "the user has logged out", Files: seen})
}

// LogIn records that there is a token again.
func (l *Ledger) LogIn() error {
	return l.Put(Entry{Nonce: logout, Hash: logout, Stage: Revoked, Reason: "there is a token again"})
}

// LoggedOut reports whether the user has logged out and not in again, and what
// LogOut was told.
func (l *Ledger) LoggedOut() (out bool, seen []string) {
	e, _ := l.find(hasNonce(logout))
	return e.Stage == Left, e.Files
}
