package guard

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"net/http"
	"slices"
	"strings"
)

const (
	minKey         = 16   // characters of a client key
	maxCredential  = 4096 // bytes of one that is looked at
	maxCredentials = 8    // of one request that are looked at
)

// checkKey says what is wrong with a client key, never how it reads.
func checkKey(key string) error {
	for i := range len(key) {
		if key[i] <= ' ' || key[i] > '~' {
			return errors.New("a key must be printable ASCII without spaces, or no header carries it as it is")
		}
	}
	switch {
	case len(key) < minKey:
		return errors.New("a key needs at least 16 characters; `openssl rand -hex 32` makes a good one")
	case len(key) > maxCredential:
		return errors.New("a key has at most 4096 characters")
	}
	return nil
}

// hasCredential reports whether one of the credentials that h carries is a
// client key or a token that the ledger knows. Agents send two at once, and
// not always the same, so one good one is enough.
func (g *Guard) hasCredential(h http.Header) bool {
	looked := 0
	good := func(value string) bool {
		value = strings.Trim(value, " \t")
		if value == "" || len(value) > maxCredential || looked == maxCredentials {
			return false
		}
		looked++
		return g.isCredential(value)
	}
	for _, value := range h["Authorization"] {
		scheme, rest, ok := strings.Cut(value, " ")
		if ok && equalFoldASCII(scheme, "bearer") && good(rest) {
			return true
		}
	}
	return slices.ContainsFunc(h["X-Api-Key"], good) || slices.ContainsFunc(h["X-Goog-Api-Key"], good)
}

func (g *Guard) isCredential(value string) bool {
	sum := sha256.Sum256([]byte(value))
	// Hashed and without a branch per key, so that the time taken tells
	// nothing of a key; the ledger's look-up is by hash too.
	match := matchKey(g.keys, sum)
	if g.keyFile != nil {
		match |= matchKey(g.keyFile.keys(), sum)
	}
	return match == 1 || g.known(hex.EncodeToString(sum[:]))
}

func matchKey(keys [][sha256.Size]byte, sum [sha256.Size]byte) (match int) {
	for i := range keys {
		match |= subtle.ConstantTimeCompare(keys[i][:], sum[:])
	}
	return match
}

// carriesCredential reports whether h has any of the headers that may carry
// one, so that a refusal can tell a missing credential from a wrong one.
func carriesCredential(h http.Header) bool {
	return len(h["Authorization"])+len(h["X-Api-Key"])+len(h["X-Goog-Api-Key"]) > 0
}
