//go:build !linux

package main

// patrolOnSlowDisk is of Linux.
func patrolOnSlowDisk() {}
