package p2p

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/runnel/runnel/wire"
)

const headerSize = 4

// appendFrame appends a framed message. An empty one is a keep-alive.
func appendFrame(dst, msg []byte) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(msg)))
	return append(dst, msg...)
}

// readHeader returns the length of the next frame's message.
func readHeader(r *bufio.Reader) (int, error) {
	b, err := r.Peek(headerSize)
	if err != nil {
		return 0, err
	}
	n := binary.BigEndian.Uint32(b)
	if n > wire.MaxMessage {
		return 0, fmt.Errorf("%w: the peer announced %d bytes, at most %d are allowed", wire.ErrTooLong, n, wire.MaxMessage)
	}
	_, err = r.Discard(headerSize)
	return int(n), err
}

// readBody reads n bytes. Memory grows with what has arrived, not with what was announced.
func readBody(r *bufio.Reader, n int) ([]byte, error) {
	const step = 32 << 10
	msg := make([]byte, min(n, step))
	for read := 0; ; {
		if _, err := io.ReadFull(r, msg[read:]); err != nil {
			return nil, unexpected(err)
		}
		if read = len(msg); read == n {
			return msg, nil
		}
		grown := make([]byte, min(n, 2*read))
		copy(grown, msg)
		msg = grown
	}
}

// unexpected: an end within a message is not the end of a connection.
func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
