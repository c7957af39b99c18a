//go:build race

package rotator_test

// yearParts makes a year a month long under the race detector: a call to the
// workspace costs five times as much there, and races need no year.
const yearParts = 12
