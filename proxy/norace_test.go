//go:build !race

package proxy_test

// many is so many streams or rotations.
func many(n int) int { return n }
