package control

import "os"

// Network names the network namespace that this process is in; "" where that can't be
// known.
func Network() string {
	name, _ := os.Readlink("/proc/self/ns/net")
	return name
}
