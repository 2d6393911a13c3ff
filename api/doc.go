// Package api serves a node to local programs: Connect (and so gRPC and plain JSON over HTTP) on a unix
// socket. It refuses to know how the node works: it checks requests, converts them and calls Node.
//
//	srv, err := api.Listen(api.Config{Socket: path}, node)
package api
