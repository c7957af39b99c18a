package main

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
)

// portOwner says who listens on addr: "name (pid 123)", or the user's name where
// the process is somebody else's, or "".
func portOwner(addr netip.AddrPort) string {
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		inode, uid := listenerOf(table, addr)
		if inode == "" {
			continue
		}
		if name := processOf(inode); name != "" {
			return name
		}
		if u, err := user.LookupId(uid); err == nil {
			return "a process of user " + u.Username
		}
		return "a process of uid " + uid
	}
	return ""
}

// listenerOf looks a listening socket up in one of the kernel's tables.
func listenerOf(table string, addr netip.AddrPort) (inode, uid string) {
	f, err := os.Open(table)
	if err != nil {
		return "", ""
	}
	defer func() { _ = f.Close() }()
	const (
		localField, stateField, uidField, inodeField = 1, 3, 7, 9
		listening                                    = "0A"
	)
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) <= inodeField || fields[stateField] != listening {
			continue
		}
		local, ok := parseProcAddr(fields[localField])
		// A listener on all addresses has this one too, and who wants all is
		// stopped by a listener on any.
		if ok && local.Port() == addr.Port() && (local.Addr() == addr.Addr() || local.Addr().IsUnspecified() || addr.Addr().IsUnspecified()) {
			return fields[inodeField], fields[uidField]
		}
	}
	return "", ""
}

// parseProcAddr reads "0100007F:0FA0": 32-bit words in the machine's own order.
func parseProcAddr(s string) (netip.AddrPort, bool) {
	host, port, _ := strings.Cut(s, ":")
	raw, err := hex.DecodeString(host)
	p, perr := hex.DecodeString(port)
	if err != nil || perr != nil || len(raw)%4 != 0 || len(p) != 2 {
		return netip.AddrPort{}, false
	}
	for word := range slices.Chunk(raw, 4) {
		binary.NativeEndian.PutUint32(word, binary.BigEndian.Uint32(word))
	}
	ip, ok := netip.AddrFromSlice(raw)
	return netip.AddrPortFrom(ip.Unmap(), binary.BigEndian.Uint16(p)), ok
}

// processOf names the process that holds a socket, "" if we may not see it.
func processOf(inode string) string {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		fds, err := os.ReadDir(filepath.Join(dir, "fd"))
		if err != nil {
			continue // somebody else's, or gone
		}
		for _, fd := range fds {
			if target, err := os.Readlink(filepath.Join(dir, "fd", fd.Name())); err != nil || target != "socket:["+inode+"]" {
				continue
			}
			name, err := os.ReadFile(filepath.Join(dir, "comm"))
			if err != nil {
				return ""
			}
			return fmt.Sprintf("%s (pid %s)", strings.TrimSpace(string(name)), filepath.Base(dir))
		}
	}
	return ""
}
