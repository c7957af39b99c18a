package state

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"

	"patrol/cmd/patrol/internal/cli"
	"patrol/rotator/atomicfile"
)

// A Proxy is where the service of a state folder listens, or did at its last start.
// It outlives the service: what stands in agents' files beside these addresses is a
// client key, whether patrol runs or not.
type Proxy struct {
	Profile string           `json:"profile"`
	Listen  []netip.AddrPort `json:"listen"`
}

// proxyName is the file's name in the state folder.
const proxyName = "proxy"

// ReadProxy returns the zero Proxy if the folder doesn't say.
func ReadProxy(stateDir string) (p Proxy) {
	raw, err := os.ReadFile(filepath.Join(stateDir, proxyName))
	if err != nil || json.Unmarshal(raw, &p) != nil {
		return Proxy{}
	}
	return p
}

// Write records p in the state folder, whose lock the caller must have.
func (p Proxy) Write(stateDir string) error {
	raw, _ := json.Marshal(p) // addresses and strings can be encoded
	if err := atomicfile.Write(filepath.Join(stateDir, proxyName), append(raw, '\n')); err != nil {
		return fmt.Errorf("recording where the proxy listens: %w", err)
	}
	return nil
}

// OtherProxies returns where the services of this user's other profiles listen, or did
// at their last starts. dir is our own state folder.
func OtherProxies(env cli.Env, dir string) (all []Proxy) {
	base, err := Base(env)
	if err != nil {
		return nil
	}
	folders, _ := filepath.Glob(filepath.Join(base, "*")) // none: no patrol has run here
	for _, other := range folders {
		if p := ReadProxy(other); other != dir && len(p.Listen) > 0 {
			all = append(all, p)
		}
	}
	return all
}
