// Package sim runs whole nodes on a world that is made of one number. Clock, chance, disk, network and
// chain are simulated; node, channel, policy and the queue of the group commit are the real ones. At any
// moment one goroutine of one node goes on, and which one the seed decides, so that the same seed gives
// the same trace to the byte. After every step the promises of docs/reliability.md are checked.
//
// It must run in a bubble of testing/synctest, which makes time stand still while anything can go on:
//
//	synctest.Test(t, func(t *testing.T) { result := sim.Run(sim.Plan{Seed: 7}) })
package sim
