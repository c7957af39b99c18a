//go:build !unix

package ledger

import "io/fs"

// checkOwner refuses nothing: here it isn't known whose a file is.
func checkOwner(string, fs.FileInfo) error { return nil }
