//go:build !race

package rotator_test

const yearParts = 1
