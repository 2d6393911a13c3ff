// Package sandbox is a small world on this machine: a private btcd on simnet and daemons with names, as
// real processes with data directories of their own, all in one temporary directory. The demo, `runnel
// dev` and the end-to-end tests live in it. It knows processes, files and the chain; it makes no payments
// and opens no channels.
//
// RUNNEL_HOME set to a sandbox's Dir makes `runnel --node alice` talk to its daemon alice. After Close no
// process and no file is left, and when this program is killed the system ends its children (on Linux).
//
//	s, err := sandbox.Start(ctx, sandbox.Options{}, sandbox.Daemon{Name: "alice"}, sandbox.Daemon{Name: "bob"})
//	defer s.Close()
//	err = s.Fund(ctx, "alice", 10_000_000)
package sandbox
