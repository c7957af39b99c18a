//go:build race

package rotator_test

// defaultSeeds is how many years are simulated under the race detector, which
// makes one take four times as long.
const defaultSeeds = 1
