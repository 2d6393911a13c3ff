//go:build !planted

package daemon

import "github.com/runnel/runnel/channel"

// What a program with a bug on purpose does otherwise (planted_on.go). Here it is nothing, and the compiler
// leaves it out.

func planted(string) bool { return false }

func (d *driver) early(*outbox) {}

func (d *driver) remember() {}

func (d *driver) newest(in channel.Lane) channel.Lane { return in }
