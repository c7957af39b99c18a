//go:build !race

package main

// many is so many rotations.
func many(n int) int { return n }
