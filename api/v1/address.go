package runnelv1

import (
	"strings"

	"github.com/runnel/runnel/channel"
)

// maxSocketPath is what every system takes: 108 bytes on Linux, 104 on the BSDs and macOS, with the
// closing zero.
const maxSocketPath = 103

// SocketPath reads the address of an API: `unix:PATH` or a bare path. Anything else, tcp above all, is
// refused with a fault.
func SocketPath(addr string) (string, error) {
	path, isUnix := strings.CutPrefix(addr, "unix:")
	scheme, _, hasScheme := strings.Cut(addr, ":")
	switch {
	case !isUnix && hasScheme && !strings.ContainsAny(scheme, "/\\."):
		return "", channel.Faultf(channel.CodeUnsupported, "the API can't be at %q: it is served on a unix socket only", addr).
			WithHint("TCP would need access tokens and TLS. Write unix:PATH; from another machine, forward the socket: ssh -L ./api.sock:PATH HOST.")
	case path == "":
		return "", channel.Faultf(channel.CodeBadRequest, "the API's address is empty").WithHint("Write unix:PATH.")
	case len(path) > maxSocketPath:
		return "", channel.Faultf(channel.CodeBadRequest,
			"the API's socket path has %d bytes, and %d is the most that systems allow: %s", len(path), maxSocketPath, path).
			WithHint("Choose a shorter one with --api unix:PATH.")
	}
	return path, nil
}
