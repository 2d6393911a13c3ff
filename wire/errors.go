package wire

import (
	"errors"
	"fmt"
)

// Errors of Encode, Decode and Negotiate, for errors.Is. Those of Negotiate say what to do.
var (
	ErrMalformed = errors.New("wire: malformed message")
	ErrTooLong   = errors.New("wire: message too long")
	ErrNetwork   = errors.New("the peer is on another network")
	ErrVersion   = errors.New("no common protocol version")
	ErrFeature   = errors.New("a required feature is missing")
)

// Errors of a Transport, besides ErrClosed and ErrUnknownPeer.
var (
	ErrAddress = errors.New("wire: not a peer address")
	ErrSelf    = errors.New("wire: a node can't connect to itself")
)

// Codes of Error.
const (
	CodeMalformed = "malformed" // a message could not be decoded
	CodeProtocol  = "protocol"  // a message that has no place here, such as a second hello
	CodeNetwork   = "wrong_network"
	CodeVersion   = "version"
	CodeFeature   = "feature"
	CodeShutdown  = "shutdown" // the sender stops; try again later
	CodeInternal  = "internal"
)

// Error is the last message before its sender closes the connection.
type Error struct {
	Code string // one of the Code* constants; unknown codes are shown as they are
	Text string // at most channel.MaxTextBytes, for people
}

func (e *Error) Error() string {
	return fmt.Sprintf("peer closed the connection: %s (%s)", e.Text, e.Code)
}

// ErrorFor is what to tell a peer before closing the connection because of err.
func ErrorFor(err error) *Error {
	codes := []struct {
		is   error
		code string
	}{
		{ErrMalformed, CodeMalformed}, {ErrTooLong, CodeMalformed}, {ErrNetwork, CodeNetwork},
		{ErrVersion, CodeVersion}, {ErrFeature, CodeFeature},
	}
	for _, c := range codes {
		if errors.Is(err, c.is) {
			return &Error{Code: c.code, Text: cleanText(err.Error())}
		}
	}
	return &Error{Code: CodeInternal, Text: "internal error"} // details are for the own log
}

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, args...))
}
