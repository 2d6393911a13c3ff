package main

import (
	"errors"

	"github.com/runnel/runnel/api"
	"github.com/runnel/runnel/api/client"
)

// dial connects to the daemon behind a socket.
func dial(socket string) (api.Node, error) { return client.Dial(socket) }

// mayHaveHappened reports whether the daemon went away while it had the request.
func mayHaveHappened(err error) bool {
	var gone *client.Unreachable
	return errors.As(err, &gone) && gone.Sent
}
