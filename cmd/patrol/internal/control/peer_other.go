//go:build !linux && !darwin

package control

import (
	"net"
	"os"
)

// peerUID takes everybody for us, since here it isn't known: the folder's and the
// socket's modes keep others out.
func peerUID(*net.UnixConn) (int, error) { return os.Geteuid(), nil }
