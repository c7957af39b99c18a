//go:build race

package proxy_test

// many is so many streams or rotations. The race detector needs a fraction of
// them, and makes each several times as dear.
func many(n int) int { return n / 4 }
