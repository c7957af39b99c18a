//go:build !race

package rotator_test

const defaultSeeds = 5
