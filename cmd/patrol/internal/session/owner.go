package session

import (
	"crypto/sha256"
	"net"
	"net/netip"
	"slices"

	"patrol/cmd/patrol/internal/cli"
	"patrol/cmd/patrol/internal/state"
	"patrol/credwriter"
	"patrol/rotator/pat"
)

// Owner says what in credential files is ours: the tokens that ours knows, and beside
// the URL of our own proxy a client key of the state folder dir. listen is where the
// proxy listens; nil: where it did at its last start, as dir says, and where --listen
// would have it.
func Owner(o cli.Options, dir string, listen []netip.AddrPort, keys *state.Keys, host pat.Host, ours func(hash string) bool) credwriter.Owner {
	owner := credwriter.Owner{Host: host, Ours: ours, ClientKey: defaultKey(keys), IsClientKey: isClientKey(keys)}
	for _, other := range state.OtherProxies(o.Env, dir) {
		for _, addr := range onThisMachine(other.Listen) {
			owner.Others = append(owner.Others, credwriter.OtherProxy{Addr: addr, Profile: other.Profile})
		}
	}
	if listen == nil {
		listen = proxies(o, dir, owner.Others)
	}
	if len(listen) > 0 {
		owner.ProxyURL, owner.Proxies = cli.ProxyURL(listen[0]), onThisMachine(listen)
	}
	return owner
}

// proxies returns where our proxy will listen or did at its last start. Where neither is
// said, that is the default address, unless another profile's proxy has it.
func proxies(o cli.Options, dir string, others []credwriter.OtherProxy) []netip.AddrPort {
	noted := state.ReadProxy(dir).Listen
	if !o.ListenGiven && len(noted) > 0 {
		return noted
	}
	var all []netip.AddrPort
	for _, l := range o.Listen {
		taken := slices.ContainsFunc(others, func(p credwriter.OtherProxy) bool { return p.Addr == l.AddrPort })
		if l.Port() != 0 && (o.ListenGiven || !taken) {
			all = append(all, l.AddrPort)
		}
	}
	return append(all, noted...)
}

// onThisMachine adds to an address that means all of them each of this machine's.
func onThisMachine(listen []netip.AddrPort) (all []netip.AddrPort) {
	for _, l := range listen {
		all = append(all, l)
		if !l.Addr().IsUnspecified() {
			continue
		}
		own, _ := net.InterfaceAddrs() // none can be had: loopback goes without saying
		for _, a := range own {
			if prefix, err := netip.ParsePrefix(a.String()); err == nil {
				all = append(all, netip.AddrPortFrom(prefix.Addr().Unmap(), l.Port()))
			}
		}
	}
	return all
}

// defaultKey returns the function for Owner.ClientKey. keys is nil if there are none.
func defaultKey(keys *state.Keys) func() string {
	return func() string {
		if keys == nil {
			return ""
		}
		key, _ := keys.Key(state.DefaultKey)
		return key
	}
}

// isClientKey returns the function for Owner.IsClientKey.
func isClientKey(keys *state.Keys) func(string) bool {
	return func(value string) bool {
		hash := sha256.Sum256([]byte(value))
		return keys != nil && slices.ContainsFunc(keys.List(), func(k state.ClientKey) bool { return k.Hash == hash })
	}
}
