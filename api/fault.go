package api

import (
	"context"
	"errors"
	"log/slog"

	"connectrpc.com/connect"

	runnelv1 "github.com/runnel/runnel/api/v1"
	"github.com/runnel/runnel/channel"
)

// connectCodes tells for each of our codes which of Connect's (and so which HTTP status) goes with it.
// Ours is the finer one and travels in the ErrorInfo.
var connectCodes = map[channel.Code]connect.Code{
	channel.CodeBadRequest:        connect.CodeInvalidArgument,
	channel.CodeNotFound:          connect.CodeNotFound,
	channel.CodeAmbiguous:         connect.CodeInvalidArgument,
	channel.CodeUnknownPeer:       connect.CodeNotFound,
	channel.CodePeerUnreachable:   connect.CodeUnavailable,
	channel.CodePeerRefused:       connect.CodeFailedPrecondition,
	channel.CodeIncompatible:      connect.CodeFailedPrecondition,
	channel.CodeNotOpen:           connect.CodeFailedPrecondition,
	channel.CodeExpiring:          connect.CodeFailedPrecondition,
	channel.CodeInsufficient:      connect.CodeFailedPrecondition,
	channel.CodeNoCredit:          connect.CodeFailedPrecondition,
	channel.CodeBadProof:          connect.CodeInvalidArgument,
	channel.CodeBadSignature:      connect.CodeInvalidArgument,
	channel.CodeInsufficientFunds: connect.CodeFailedPrecondition,
	channel.CodeIDConflict:        connect.CodeAlreadyExists,
	channel.CodeLimit:             connect.CodeResourceExhausted,
	channel.CodeApproval:          connect.CodeFailedPrecondition,
	channel.CodeFrozen:            connect.CodeFailedPrecondition,
	channel.CodeRefused:           connect.CodeAborted,
	channel.CodeChainUnreachable:  connect.CodeUnavailable,
	channel.CodeNotReady:          connect.CodeUnavailable,
	channel.CodePending:           connect.CodeDeadlineExceeded,
	channel.CodeDiskFull:          connect.CodeResourceExhausted,
	channel.CodeRejected:          connect.CodeFailedPrecondition,
	channel.CodeUnsupported:       connect.CodeUnimplemented,
	channel.CodeStopping:          connect.CodeUnavailable,
	channel.CodeFailure:           connect.CodeInternal,
}

// faultOf finds the fault in an error of the node, or makes an internal one: every error gets a code.
func faultOf(err error) *channel.Fault {
	var f *channel.Fault
	if errors.As(err, &f) && f != nil {
		return f
	}
	return channel.Faultf(channel.CodeFailure, "%v", err).WithHint("The daemon's log says more.")
}

// wireError makes the error that a client sees. Faults that only the daemon's author can mend are logged.
func wireError(log *slog.Logger, method string, err error) error {
	if err == nil {
		return nil
	}
	var ready *connect.Error
	if errors.As(err, &ready) {
		return err
	}
	if errors.Is(err, context.Canceled) {
		return connect.NewError(connect.CodeCanceled, errors.New("the request was canceled"))
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return connect.NewError(connect.CodeDeadlineExceeded, errors.New("the request's time is over"))
	}
	f := faultOf(err)
	if f.Code == channel.CodeFailure {
		log.Error("request failed", "method", method, "err", err)
	}
	return newConnectError(f)
}

func newConnectError(f *channel.Fault) *connect.Error {
	code, ok := connectCodes[f.Code]
	if !ok {
		code = connect.CodeUnknown
	}
	e := connect.NewError(code, errors.New(f.Text))
	if detail, err := connect.NewErrorDetail(runnelv1.NewErrorInfo(f)); err == nil {
		e.AddDetail(detail)
	}
	return e
}
