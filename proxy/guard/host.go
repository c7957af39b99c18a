package guard

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// loopbackHosts are the names under which each client on this machine reaches us.
var loopbackHosts = []string{"localhost", "127.0.0.1", "[::1]"}

// allowedHosts returns the hosts that a request may name: loopbackHosts and more.
func allowedHosts(more []string) ([]string, error) {
	hosts := slices.Clone(loopbackHosts)
	for _, entry := range more {
		host, err := allowedHost(entry)
		if err != nil {
			return nil, fmt.Errorf("allowed host %q: %w", entry, err)
		}
		hosts = append(hosts, host)
	}
	return hosts, nil
}

// allowedHost returns an entry of Config.AllowHosts in the form that hostOf gives
// to a request's Host.
func allowedHost(entry string) (string, error) {
	bare := strings.TrimSuffix(strings.TrimPrefix(entry, "["), "]")
	if addr, err := netip.ParseAddr(bare); err == nil {
		switch {
		case addr.Zone() != "":
			return "", errors.New("no browser or agent names a zone in a Host: leave it out")
		case addr.IsUnspecified():
			return "", errors.New("this address stands for no host: name those that clients use")
		case addr.Is6():
			// Clients write the shortest form, in brackets.
			return "[" + addr.String() + "]", nil
		}
		return addr.String(), nil
	}
	host, ok := hostOf(entry)
	switch {
	case strings.Contains(entry, "*"):
		return "", errors.New("patterns aren't known here: name each host in full")
	case strings.Contains(entry, "://"):
		return "", errors.New("write the host alone, without the scheme")
	case strings.HasSuffix(entry, "."):
		return "", errors.New("write it without the dot at its end")
	case ok && len(host) != len(entry):
		return "", errors.New("write the host alone, without the port: any port goes with it")
	case !ok:
		return "", errors.New("this is neither a host name nor an IP address")
	}
	return host, nil
}

// hostOf returns the host of an authority, which is host or host:port, in lower
// case; ok is false for any other form. It decodes and normalizes nothing else:
// 127.1 and 0x7f.1 reach 127.0.0.1 too, but a client that was told to use patrol
// doesn't send them.
func hostOf(authority string) (host string, ok bool) {
	end := len(authority)
	if strings.HasPrefix(authority, "[") {
		end = strings.IndexByte(authority, ']') + 1
		if end == 0 {
			return "", false
		}
	} else if i := strings.IndexByte(authority, ':'); i >= 0 {
		end = i
	}
	host = authority[:end]
	if host == "" || !validPort(authority[end:]) {
		return "", false
	}
	for i := range len(host) {
		switch c := host[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '.', c == '-', c == '_':
		case host[0] == '[' && (c == ':' || i == 0 || i == len(host)-1):
		default:
			// Not in ASCII either: Unicode folds ſ and K to s and k.
			return "", false
		}
	}
	return strings.ToLower(host), true
}

// validPort reports whether s is empty or a colon and a port.
func validPort(s string) bool {
	digits, ok := strings.CutPrefix(s, ":")
	if !ok {
		return s == ""
	}
	_, err := strconv.ParseUint(digits, 10, 16)
	return err == nil && len(digits) <= len("65535")
}
