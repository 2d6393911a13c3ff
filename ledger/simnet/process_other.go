//go:build !linux

package simnet

import "os/exec"

// dieWithParent has no counterpart here: after a kill of the parent btcd goes on until it is stopped.
func dieWithParent(*exec.Cmd) {}
