package api

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"github.com/runnel/runnel/api/v1/runnelv1connect"
	"github.com/runnel/runnel/channel"
)

func contextOf(ctx context.Context) func(net.Listener) context.Context {
	return func(net.Listener) context.Context { return ctx }
}

// guard refuses what a local program does not send, a browser above all, and bounds how slowly a body may
// arrive.
func guard(wait time.Duration, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if f := strange(r); f != nil {
			refuse(w, r, http.StatusForbidden, f)
			return
		}
		control := http.NewResponseController(w)
		if r.ContentLength != 0 && r.URL.Path != runnelv1connect.PaymentServicePayStreamProcedure {
			// The server lifts it when the body is complete: the wait for the answer is not timed.
			_ = control.SetReadDeadline(time.Now().Add(wait)) // a connection that can't is closed anyway
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), controlKey{}, control)))
	})
}

// strange returns why a request does not come from a local program: browsers send Origin, and a page that
// got its name resolved to this machine sends that name as Host.
func strange(r *http.Request) *channel.Fault {
	if _, has := r.Header["Origin"]; has {
		return channel.Faultf(channel.CodeBadRequest, "requests with an Origin header, as browsers send them, are refused")
	}
	host := r.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	switch strings.ToLower(strings.Trim(host, "[]")) {
	case "", "localhost", "runnel", "127.0.0.1", "::1":
		return nil
	}
	return channel.Faultf(channel.CodeBadRequest, "the host %q is refused", host).WithHint("Use http://localhost/ or http://runnel/.")
}

// controlKey is the context key of the request's *http.ResponseController.
type controlKey struct{}

// stopReading lets a pending read of the request's body fail now.
func stopReading(ctx context.Context) {
	if control, ok := ctx.Value(controlKey{}).(*http.ResponseController); ok {
		_ = control.SetReadDeadline(time.Unix(1, 0)) // not supported: the connection is gone
	}
}

// stopReadingWith calls stopReading when stopping ends. The function that it returns must be called before
// the handler returns: it waits for a call that has begun, for the request is nobody's afterwards.
func stopReadingWith(stopping, ctx context.Context) (release func()) {
	done := make(chan struct{})
	stop := context.AfterFunc(stopping, func() {
		defer close(done)
		stopReading(ctx)
	})
	return func() {
		if !stop() {
			<-done
		}
	}
}

// refuse answers in the request's own protocol, and in Connect's JSON when it has none.
func refuse(w http.ResponseWriter, r *http.Request, status int, f *channel.Fault) {
	err := newConnectError(f)
	if status == http.StatusForbidden {
		detailed := connect.NewError(connect.CodePermissionDenied, errors.New(f.Text))
		for _, d := range err.Details() {
			detailed.AddDetail(d)
		}
		err = detailed
	}
	errorWriter := connect.NewErrorWriter()
	if !errorWriter.IsSupported(r) {
		r = r.Clone(r.Context())
		r.Method = http.MethodPost
		r.Header.Set("Content-Type", "application/json")
	}
	_ = errorWriter.Write(w, r, err) // the client went away
}

func unknownMethod(w http.ResponseWriter, r *http.Request) {
	refuse(w, r, http.StatusNotFound, channel.Faultf(channel.CodeUnsupported, "this daemon has no %s", r.URL.Path).
		WithHint("Methods are POST /runnel.v1.SERVICE/METHOD, such as /runnel.v1.NodeService/GetStatus with the body {}."))
}

// edge gives errors their wire form and refuses requests that ask for more than this daemon knows.
type edge struct{ log *slog.Logger }

func (e edge) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		if m, ok := req.Any().(proto.Message); ok {
			if err := knownFields(m); err != nil {
				return nil, newConnectError(err)
			}
		}
		res, err := next(ctx, req)
		return res, wireError(e.log, req.Spec().Procedure, err)
	}
}

func (e edge) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

func (e edge) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, conn connect.StreamingHandlerConn) error {
		return wireError(e.log, conn.Spec().Procedure, next(ctx, conn))
	}
}

// knownFields refuses a message with fields that this daemon does not know: a program that is newer may
// have meant a limit by them.
func knownFields(m proto.Message) *channel.Fault {
	if len(m.ProtoReflect().GetUnknown()) == 0 {
		return nil
	}
	return channel.Faultf(channel.CodeUnsupported, "the request has fields that this daemon does not know").
		WithHint("The program is newer than the daemon: update the daemon.")
}
