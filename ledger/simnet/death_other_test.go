//go:build !linux

package simnet_test

const diesWithParent = false

func alive(int) bool { return false }
