//go:build planted

package channel

// Planted is the bug that this program has on purpose. The simulation sets it before it starts nodes, to
// see whether it finds it.
var Planted string

func planted(bug string) bool { return bug == Planted }
