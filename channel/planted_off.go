//go:build !planted

package channel

// planted reports whether this program has a bug on purpose. A program that is not built to test the
// simulation has none, and the compiler leaves out what would ask.
func planted(string) bool { return false }
