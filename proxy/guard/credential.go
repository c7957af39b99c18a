package guard

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"time"
)

// maxCredentials is how many credentials of one request are checked.
const maxCredentials = 8

// shown is what the credentials of a request are, as far as keys go. Agents send two
// at once, and not always the same, so one good one is enough.
type shown struct {
	use     *keyUse // of the key that is one of them, or of Unknown or None
	revoked string  // the name of a key that was revoked and is one of them
}

func (s shown) isKey() bool  { return s.use != nil && s.use.isKey }
func (s shown) name() string { return s.use.name }

// count counts a request by its client.
func (s shown) count() {
	s.use.requests.Add(1)
	s.use.last.Store(time.Now().Unix())
}

// shownIn looks at the credentials that h carries.
func (g *Guard) shownIn(h http.Header) (s shown) {
	set := g.keys.set.Load()
	s.use = set.none
	var room [maxCredentials]string // spares nearly every request an allocation
	for _, value := range appendCredentials(room[:0], h) {
		sum := sha256.Sum256([]byte(value))
		if use := set.find(sum, g.keyFile); use != nil {
			s.use = use
			return s
		}
		s.use = set.unknown
		if name, ok := set.revoked[sum]; ok {
			s.revoked = name
		}
	}
	return s
}

// find returns the use of the key with this hash, nil if there is none. It compares
// all of them in any case, so that the time that it takes tells nothing about a key.
func (s *keySet) find(sum [sha256.Size]byte, file *keyFile) (use *keyUse) {
	for i := range s.live {
		if subtle.ConstantTimeCompare(s.live[i].hash[:], sum[:]) == 1 {
			use = s.live[i].use
		}
	}
	if file == nil {
		return use
	}
	match := 0
	for _, hash := range file.refresh() {
		match |= subtle.ConstantTimeCompare(hash[:], sum[:])
	}
	if match == 1 && use == nil {
		use = s.ofFile
	}
	return use
}

// hasToken reports whether one of r's credentials is a token that lets in. It asks by
// hash, so that the time that it takes tells nothing about a token.
func (g *Guard) hasToken(r *http.Request) bool {
	var room [maxCredentials]string
	best := TokenUseless
	for _, value := range appendCredentials(room[:0], r.Header) {
		sum := sha256.Sum256([]byte(value))
		best = max(best, g.tokenUse(hex.EncodeToString(sum[:])))
	}
	if best == TokenReplaced {
		g.replaced.seen(r, g.log)
	}
	return best != TokenUseless
}

// appendCredentials appends to values, which has room for maxCredentials, those that h
// carries, as far as they go in.
func appendCredentials(values []string, h http.Header) []string {
	add := func(value string) {
		value = strings.Trim(value, " \t")
		if value != "" && len(value) <= maxCredentialLen && len(values) < maxCredentials {
			values = append(values, value)
		}
	}
	for _, value := range h["Authorization"] {
		scheme, credential, ok := strings.Cut(value, " ")
		switch {
		case ok && strings.EqualFold(scheme, "bearer"):
			add(credential)
		case ok && strings.EqualFold(scheme, "basic") && len(credential) <= 2*maxCredentialLen:
			pair, _ := base64.StdEncoding.DecodeString(strings.TrimSpace(credential))
			_, password, _ := strings.Cut(string(pair), ":")
			add(password)
		}
	}
	for _, name := range [...]string{"X-Api-Key", "X-Goog-Api-Key"} {
		for _, value := range h[name] {
			add(value)
		}
	}
	return values
}

// replacedTokens counts requests by tokens that were replaced.
type replacedTokens struct {
	last  atomic.Int64 // in Unix time; 0: never
	quota LogQuota
}

// seen notes that such a token has let r in.
func (t *replacedTokens) seen(r *http.Request, log *slog.Logger) {
	now := time.Now()
	t.last.Store(now.Unix())
	if unlogged, ok := t.quota.Take(now); ok {
		log.Warn("an agent still sends a token that was replaced, which lets it in for a while only: restart that agent",
			"remote", r.RemoteAddr, "not_logged", unlogged)
	}
}

// ReplacedTokenAt returns when a token that was replaced has let in a client last; the
// zero time if none has.
func (g *Guard) ReplacedTokenAt() time.Time { return unixTime(g.replaced.last.Load()) }

// unixTime is the time of these seconds, the zero time of 0.
func unixTime(seconds int64) time.Time {
	if seconds == 0 {
		return time.Time{}
	}
	return time.Unix(seconds, 0)
}
