//go:build !race

package rotator_test

// A year is awake for some 500 hours, a third of them in outages of days.
const yearParts, years = 1, 2
