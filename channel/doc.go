// Package channel is the pure two-party machine of a payment channel: Step turns a state and an event
// into the next state, the effects to carry out, or an error that changed nothing.
//
// It imports only the standard library and knows no clock, key, disk, network or goroutine: signing,
// storing and sending are effects, heights and results come back as events.
//
//	next, effects, err := channel.Step(state, channel.Pay{Payments: payments})
package channel
