package wire

import "github.com/runnel/runnel/channel"

// Every limit of the wire, each with its reason.
const (
	// MaxMessage is the longest message. The longest frame (1,024 payments with references of 64 bytes)
	// takes 96 KiB and the longest ack 240 KiB; a peer can make us hold no more than this for one read.
	MaxMessage = 256 << 10

	// MaxHello bounds the one message that may hold fields we don't know, so that they cost nothing.
	MaxHello = 4 << 10

	// MaxCold bounds every message that is neither hello, frame, ack nor a finished transaction. The
	// longest, a refusal with text, takes about 600 bytes.
	MaxCold = 2 << 10

	// MaxAckRefused bounds the refusals of one ack: fifteen full frames are what fits MaxMessage at the
	// longest. A payee that refuses more answers in several acks.
	MaxAckRefused = 15 * channel.MaxFramePayments

	// MaxCloseTx bounds a finished closing transaction: two inputs and two outputs take 360 bytes.
	MaxCloseTx = 4 << 10

	// MaxVersions bounds the protocol versions of a hello; nobody speaks sixteen at once.
	MaxVersions = 16

	// MaxFeatures bounds the feature bits that a hello sets, MaxFeatureBit their numbers.
	MaxFeatures   = 128
	MaxFeatureBit = 1023

	// MaxAgentBytes bounds what a peer calls its program; it is shown in one line.
	MaxAgentBytes = 64

	// MaxCodeBytes bounds the codes of refusals and errors, which are words like unknown_channel.
	MaxCodeBytes = 32

	// MaxTime is the latest time in unix seconds, in the year 9999: what people read has four digits.
	MaxTime = 253_402_300_799

	// minPaymentBytes is the shortest payment on the wire (tag and length, 18 for the id, 2 for the
	// amount). A frame is known to hold its payments before memory for them is taken, so the payments
	// of a frame take less than twice its bytes.
	minPaymentBytes = 22

	// minRefusalBytes is the shortest refusal on the wire: tag, length, seq and reason.
	minRefusalBytes = 6
)
