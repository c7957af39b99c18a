package credwriter

import (
	"cmp"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"patrol/rotator/pat"
)

const (
	host     = "https://dbc-1.cloud.databricks.com"
	oldValue = "dapi0ld0ld0ld0ld0ld0ld0ld0ld0ld0ld"
	newValue = "dapinewnewnewnewnewnewnewnewnewnew-2"
	keyValue = "patrol-keykeykeykeykeykeykeykeyke"
	ownValue = "patrol-ownownownownownownownownow" // a client key that its user has put there
)

var newToken = pat.New(newValue, host)

// owner knows the old and the new token, and more of them.
func owner(more ...string) Owner {
	known := append([]string{oldValue, newValue}, more...)
	return Owner{
		Host:        newToken.Host,
		ProxyURL:    "http://127.0.0.1:4000",
		Proxies:     addrs("127.0.0.1:4000", "[::1]:4000"),
		Others:      []OtherProxy{{addrs("127.0.0.1:4001")[0], "work"}},
		ClientKey:   func() string { return keyValue },
		IsClientKey: func(value string) bool { return value == ownValue },
		Ours: func(hash string) bool {
			return slices.ContainsFunc(known, func(v string) bool { return pat.Hash(v) == hash })
		},
	}
}

func addrs(texts ...string) (all []netip.AddrPort) {
	for _, text := range texts {
		all = append(all, netip.MustParseAddrPort(text))
	}
	return all
}

// fill writes the old token for OLD, the new one for NEW, the client key for CLIENT, one
// that its user has put there for OWN, and the host for HOST.
func fill(s string) string {
	return strings.NewReplacer("OLD", oldValue, "NEW", newValue, "CLIENT", keyValue, "OWN", ownValue, "HOST", host).Replace(s)
}

// row is a row of a format's table: what an edit makes of a text.
type row struct {
	name    string
	in, out string // out "": the text stays as it is
	left    string // in what was left alone; "" if nothing was
	err     string // in the error; "" for none
}

// filled are the rows of a table, filled.
func filled(rows []row) []row {
	rows = slices.Clone(rows)
	for i, r := range rows {
		rows[i] = row{name: r.name, in: fill(r.in), out: fill(r.out), left: fill(r.left), err: fill(r.err)}
	}
	return rows
}

// sets checks what Set makes of each text.
func sets(t *testing.T, f Format, rows []row) {
	t.Helper()
	for _, r := range filled(rows) {
		t.Run(r.name, func(t *testing.T) {
			r.check(t, func(text []byte) (Edit, error) { return f.Set(text, newValue, nil) })
		})
	}
}

// removes checks what Remove makes of each text that holds the old token.
func removes(t *testing.T, f Format, rows []row) {
	t.Helper()
	for _, r := range filled(rows) {
		t.Run(r.name, func(t *testing.T) {
			r.check(t, func(text []byte) (Edit, error) { return f.Remove(text, goneOld) })
		})
	}
}

// goneOld knows the old token and no other.
func goneOld(hash string) bool { return hash == pat.Hash(oldValue) }

// check makes the edit twice: the second time there is nothing to do.
func (r row) check(t *testing.T, edit func(text []byte) (Edit, error)) {
	t.Helper()
	text := []byte(r.in)
	want := cmp.Or(r.out, r.in)
	for round := range 2 {
		got, err := edit(slices.Clone(text))
		said := strings.Join(got.Left, "\n")
		switch {
		case r.err == "" && err != nil, r.err != "" && (err == nil || !strings.Contains(err.Error(), r.err)):
			t.Fatalf("round %d: error %v, want %q", round, err, r.err)
		case (r.left == "") != (said == "") || !strings.Contains(said, r.left):
			t.Errorf("round %d: left alone: %q, want %q", round, said, r.left)
		case strings.Contains(fmt.Sprint(err, said), oldValue), strings.Contains(fmt.Sprint(err, said), newValue):
			t.Fatalf("round %d: a token is in %v or %q", round, err, said)
		}
		if got.Text != nil {
			text = got.Text
		} else if err == nil && r.out != "" && round == 0 {
			t.Error("it was left alone")
		}
		if string(text) != want {
			t.Errorf("round %d: the text is\n%q, want\n%q", round, text, want)
		}
	}
}

// put makes a file in a new folder.
func put(t testing.TB, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func get(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
