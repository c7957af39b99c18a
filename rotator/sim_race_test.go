//go:build race

package rotator_test

// The race detector makes a year a month long, and lives through two: a call to the
// workspace costs five times as much there, and races need no year.
const yearParts, years = 12, 2
