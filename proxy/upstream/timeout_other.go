//go:build !linux && !darwin

package upstream

import (
	"context"
	"syscall"
)

func setUserTimeout(context.Context, string, string, syscall.RawConn) error { return nil }
