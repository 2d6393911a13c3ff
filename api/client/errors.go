package client

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"connectrpc.com/connect"

	runnelv1 "github.com/runnel/runnel/api/v1"
	"github.com/runnel/runnel/channel"
)

// ErrUnreachable is what errors.Is finds in every error that says that no daemon answers.
var ErrUnreachable = errors.New("no daemon answers")

// Unreachable says which daemon did not answer.
type Unreachable struct {
	Socket string
	Sent   bool // the daemon went away while it had the request: it may or may not have done it
	Err    error
}

func (e *Unreachable) Error() string {
	switch {
	case e.Sent:
		return fmt.Sprintf("the daemon at %s went away before it answered", e.Socket)
	case errors.Is(e.Err, fs.ErrNotExist), errors.Is(e.Err, syscall.ECONNREFUSED):
		return fmt.Sprintf("no daemon is running at %s", e.Socket)
	case errors.Is(e.Err, fs.ErrPermission):
		return fmt.Sprintf("the daemon at %s is another user's", e.Socket)
	}
	return fmt.Sprintf("no daemon answers at %s: %v", e.Socket, e.Err)
}

func (e *Unreachable) Unwrap() error        { return e.Err }
func (e *Unreachable) Is(target error) bool { return target == ErrUnreachable }

// Hint says what to do.
func (e *Unreachable) Hint() string {
	switch {
	case e.Sent:
		return "Look whether it happened before you try again (a payment can be repeated with the same id)."
	case errors.Is(e.Err, fs.ErrPermission):
		return "Run this as the user that runs runneld."
	}
	return "Start it with `runneld --network NETWORK`, or name the right one with --node."
}

// failure gives an error of a call the form that the package promises.
func (c *Client) failure(ctx context.Context, err error) error {
	var gone *Unreachable
	if errors.As(err, &gone) {
		return gone
	}
	if connect.IsWireError(err) {
		return c.wireFault(ctx, err)
	}
	if ctx.Err() != nil {
		return fmt.Errorf("waiting for the daemon at %s: %w", c.socket, ctx.Err())
	}
	switch connect.CodeOf(err) {
	case connect.CodeUnavailable, connect.CodeUnknown, connect.CodeInternal, connect.CodeCanceled:
		return &Unreachable{Socket: c.socket, Sent: true, Err: err}
	}
	return c.strange(err)
}

// wireFault is the fault that the daemon sent.
func (c *Client) wireFault(ctx context.Context, err error) error {
	var wire *connect.Error
	errors.As(err, &wire)
	for _, detail := range wire.Details() {
		value, err := detail.Value()
		if info, ok := value.(*runnelv1.ErrorInfo); ok && err == nil {
			return &channel.Fault{Code: channel.Code(info.GetCode()), Text: wire.Message(), Hint: info.GetHint()}
		}
	}
	switch wire.Code() {
	case connect.CodeCanceled, connect.CodeDeadlineExceeded:
		if ctx.Err() != nil {
			return fmt.Errorf("waiting for the daemon at %s: %w", c.socket, ctx.Err())
		}
		return fmt.Errorf("waiting for the daemon at %s: %w", c.socket, context.DeadlineExceeded)
	case connect.CodeInvalidArgument:
		return channel.Faultf(channel.CodeBadRequest, "%s", wire.Message())
	case connect.CodeUnimplemented:
		return channel.Faultf(channel.CodeUnsupported, "the daemon does not know this request: %s", wire.Message()).
			WithHint("This program is newer than the daemon: update the daemon.")
	}
	return channel.Faultf(channel.CodeFailure, "the daemon failed: %s", wire.Message())
}

// strange is for answers that make no sense; nil of nil.
func (c *Client) strange(err error) error {
	if err == nil {
		return nil
	}
	return channel.Faultf(channel.CodeFailure, "the daemon at %s gave an answer that this program does not understand: %v", c.socket, err).
		WithHint("Program and daemon may be of different versions.")
}
