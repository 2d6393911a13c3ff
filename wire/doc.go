// Package wire is the language of two peers: protobuf messages, their strict conversion from and to
// the types of package channel, the hello that opens a connection, and the Transport that carries it.
// It opens no socket and keeps no state; what a message means for a channel is package channel's.
//
// Decode accepts a message only if Encode would give back the same bytes, so that no two encodings of
// one message exist. Hello alone may hold unknown fields: a newer peer must be able to greet.
//
//	msg, err := wire.Decode(bytes)
package wire

//go:generate go run ./protogen wire/wirepb/wire.proto
