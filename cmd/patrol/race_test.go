//go:build race

package main

// many is so many rotations. The race detector needs a fraction of them, and makes
// each several times as dear.
func many(n int) int { return n / 10 }
