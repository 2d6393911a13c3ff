//go:build race

package daemon_test

// many is smaller where the race detector makes everything ten times slower.
const many = 1_000
