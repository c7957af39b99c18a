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
	minKeyLen        = 16   // characters of a client key
	maxCredentialLen = 4096 // bytes of one that is looked at
	maxCredentials   = 8    // of one request that are looked at
)

// checkKey says what is wrong with a client key, never how it reads.
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
	checked := 0
	isValid := func(value string) bool {
		value = strings.Trim(value, " \t")
		if value == "" || len(value) > maxCredentialLen || checked == maxCredentials {
			return false
		}
		checked++
		return g.isValidCredential(value)
	}
	for _, value := range h["Authorization"] {
		scheme, credential, ok := strings.Cut(value, " ")
		if ok && equalFoldASCII(scheme, "bearer") && isValid(credential) {
			return true
		}
	}
	return slices.ContainsFunc(h["X-Api-Key"], isValid) || slices.ContainsFunc(h["X-Goog-Api-Key"], isValid)
}

func (g *Guard) isValidCredential(value string) bool {
	sum := sha256.Sum256([]byte(value))
	// Hashed and without a branch per key, so that the time taken tells
	// nothing of a key; the ledger's look-up is by hash too.
	match := matchesKey(g.keyHashes, sum)
	if g.keyFile != nil {
		match |= matchesKey(g.keyFile.refresh(), sum)
	}
	return match == 1 || g.knownToLedger(hex.EncodeToString(sum[:]))
}

func matchesKey(keys [][sha256.Size]byte, sum [sha256.Size]byte) (match int) {
	for i := range keys {
		match |= subtle.ConstantTimeCompare(keys[i][:], sum[:])
	}
	return match
}

// sendsCredential reports whether h has any of the headers that may carry
// one, so that a refusal can tell a missing credential from a wrong one.
func sendsCredential(h http.Header) bool {
	return len(h["Authorization"])+len(h["X-Api-Key"])+len(h["X-Goog-Api-Key"]) > 0
}
