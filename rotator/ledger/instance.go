package ledger

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"patrol/rotator/atomicfile"
	"patrol/rotator/pat"
)

// newInstance returns a name that no other patrol has and that a person who
// reads the workspace's list of tokens can place: the machine's name, and
// eight random hex digits.
func newInstance() string {
	host, err := os.Hostname()
	if err != nil {
		host = "host"
	}
	host = strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' {
			return r
		}
		return -1
	}, strings.ToLower(host))
	const longest = 40
	return host[:min(len(host), longest)] + "-" + NewNonce()[:8]
}

// instanceOf returns the instance that minted the last of these tokens; "" if
// none of them was minted.
func instanceOf(entries []Entry) string {
	for _, e := range slices.Backward(entries) {
		if instance, _, ok := pat.ParseComment(e.Comment); ok && e.Ours() {
			return instance
		}
	}
	return ""
}

// readInstance returns the instance that is noted beside the ledger; "" if
// none is, or it isn't whole.
func readInstance(dir string) string {
	data, err := readFile(filepath.Join(dir, instanceName))
	var head header
	if err != nil || !decode(bytes.TrimSuffix(data, []byte{'\n'}), &head) {
		return ""
	}
	return head.Instance
}

// noteInstance writes the instance beside the ledger, if it isn't there. The
// ledger does without it, so a disk that fails here is no error.
func (l *Ledger) noteInstance() {
	if readInstance(l.dir) == l.instance {
		return
	}
	line, err := encode(header{Version: version, Instance: l.instance})
	if err == nil {
		err = atomicfile.Write(filepath.Join(l.dir, instanceName), line)
	}
	if err != nil {
		l.log.Warn("the name of this patrol can't be noted beside its ledger", "err", err)
	}
}
