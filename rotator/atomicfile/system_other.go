//go:build !linux && !darwin

package atomicfile

import (
	"errors"
	"io/fs"
	"os"
)

// Elsewhere, Windows that is, patrol builds and replaces files; what follows
// is the little that it can do there.

const nonblock = 0

func lock(*os.File) error                   { return errors.ErrUnsupported }
func isLocked(error) bool                   { return false }
func hasWriter(*os.File) (yes, known bool)  { return false, false }
func exchange(string, string) error         { return errors.ErrUnsupported }
func isMountPoint(string) bool              { return false }
func keepOwner(*os.File, fs.FileInfo) error { return nil }
func links(fs.FileInfo) int                 { return 1 }
func syncDir(string) error                  { return nil }
