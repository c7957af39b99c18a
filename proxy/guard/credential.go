package guard

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"net/http"
	"strings"
)

const (
	minKeyLen        = 16   // characters
	maxCredentialLen = 4096 // bytes; a longer one isn't checked
	maxCredentials   = 8    // of one request; more aren't checked
)

// checkKey returns an error that says what is wrong with a client key, without
// the key in it.
func checkKey(key string) error {
	for i := range len(key) {
		if key[i] <= ' ' || key[i] > '~' {
			return errors.New("a key must be printable ASCII without spaces, or no header carries it as it is")
		}
	}
	switch {
	case len(key) < minKeyLen:
		return errors.New("a key needs at least 16 characters; `openssl rand -hex 32` makes a good one")
	case len(key) > maxCredentialLen:
		return errors.New("a key has at most 4096 characters")
	}
	return nil
}

// hasValidCredential reports whether one of the credentials that h carries is a
// client key or a token that the ledger knows. Agents send two at once, and
// not always the same, so one good one is enough.
func (g *Guard) hasValidCredential(h http.Header) bool {
	var room [maxCredentials]string // spares nearly every request an allocation
	checked := 0
	for _, value := range appendCredentials(room[:0], h) {
		value = strings.Trim(value, " \t")
		if value == "" || len(value) > maxCredentialLen {
			continue
		}
		if checked++; checked > maxCredentials {
			break
		}
		if g.isValidCredential(value) {
			return true
		}
	}
	return false
}

// appendCredentials appends the credentials that h carries.
func appendCredentials(values []string, h http.Header) []string {
	for _, value := range h["Authorization"] {
		scheme, credential, ok := strings.Cut(value, " ")
		if ok && strings.EqualFold(scheme, "bearer") {
			values = append(values, credential)
		}
	}
	return append(append(values, h["X-Api-Key"]...), h["X-Goog-Api-Key"]...)
}

// isValidCredential compares hashes, and all keys in any case, so that the time
// that it takes tells nothing about a key. The ledger is asked by hash too.
func (g *Guard) isValidCredential(value string) bool {
	sum := sha256.Sum256([]byte(value))
	match := 0
	if g.keyFile != nil {
		for _, hash := range g.keyFile.refresh() {
			match |= subtle.ConstantTimeCompare(hash[:], sum[:])
		}
	}
	return match == 1 || g.knownToLedger(hex.EncodeToString(sum[:]))
}

// sendsCredential reports whether h has a header that may carry a credential,
// so that a refusal can tell a missing credential from a wrong one.
func sendsCredential(h http.Header) bool {
	return len(h["Authorization"])+len(h["X-Api-Key"])+len(h["X-Goog-Api-Key"]) > 0
}
