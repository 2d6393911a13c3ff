// Package journal is the format of the second durable copy: groups of writes, each sealed with an
// authenticated cipher and bound to the one before by a hash. It encodes, seals, opens and verifies; it
// knows no files (package file does) and not what the records mean.
//
//	end, findings, err := journal.Walk(key, bytes.NewReader(segment), size, func(g *journal.Group) error { ... })
//
// A segment is a header of HeaderSize bytes and groups after one another, then zeros:
//
//	header  magic "RUNNELJL" | u32 format | u8 kind | 3 zeros | u64 segment | u64 first | 32 salt | 32 chain | 16 key check | 16 digest
//	group   u32 size | u64 number | u32 CRC-32C of the twelve bytes before | size bytes: sealed body and its tag
//	body    u8 flags | 32 chain before this group | uvarint time (unix ms) | writes
//	write   uvarint key length*2 + (1: deleted) | key | unless deleted: uvarint value length | value
//
// Integers are big-endian. The chain begins with 32 zeros and goes on as SHA-256(chain || the group as it
// stands on the disk). Numbers and chain run on from segment to segment.
//
// A body is sealed with AES-256-GCM. Its key is HKDF-SHA256(journal key, salt, "runnel/journal/segment" ||
// the header up to the chain's end), its nonce the group's number, its additional data the twelve bytes
// before the CRC. A nonce never meets two bodies under one key: numbers only grow within a segment, and a
// program that opens a journal never goes on in a segment that it finds but begins one with a salt of its
// own. So neither a torn group that is written again nor two copies of a directory that both go on repeat
// one.
package journal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/runnel/runnel/store"
)

// Format is the version of the layout that this program writes. A newer one is refused.
const Format = 1

const (
	// HeaderSize is where the first group of a segment begins.
	HeaderSize = 128

	// MaxBody is the longest body. A group of the committer takes less than half of it (store.Limits).
	MaxBody = 2 << 20

	frameSize = 16 // before each sealed body
	tagSize   = 16
	bound     = 96  // of the header: what the segment key is bound to
	checked   = 112 // of the header: what its digest covers
)

const magic = "RUNNELJL"

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Kind says what a segment is.
type Kind uint8

const (
	// KindLog is a part of the log.
	KindLog Kind = iota + 1
	// KindBase stands for everything up to its number: the writes that made the state at that point.
	// First and Chain say where the log goes on; its own groups are numbered from 1 with a chain of
	// their own.
	KindBase
)

// Header begins a segment.
type Header struct {
	Kind    Kind
	Segment uint64   // number of the segment, from 1
	First   uint64   // number of the first group; of a base: of the group that follows it
	Chain   [32]byte // before the first group; of a base: before the group that follows it
	Salt    [32]byte
}

// ErrHeader is returned for a segment whose first bytes are no header, or damaged.
var ErrHeader = errors.New("journal: the segment's header is damaged")

// encode writes the header and derives the cipher.
func (h *Header) encode(key [32]byte) ([]byte, cipher.AEAD, error) {
	b := make([]byte, 0, HeaderSize)
	b = append(b, magic...)
	b = binary.BigEndian.AppendUint32(b, Format)
	b = append(b, byte(h.Kind), 0, 0, 0)
	b = binary.BigEndian.AppendUint64(b, h.Segment)
	b = binary.BigEndian.AppendUint64(b, h.First)
	b = append(b, h.Salt[:]...)
	b = append(b, h.Chain[:]...)
	check, err := hkdf.Key(sha256.New, key[:], h.Salt[:], "runnel/journal/check", checked-bound)
	if err != nil {
		return nil, nil, err
	}
	b = append(b, check...)
	digest := sha256.Sum256(b)
	b = append(b, digest[:HeaderSize-checked]...)
	aead, err := segmentCipher(key, h.Salt, b[:bound])
	return b, aead, err
}

func segmentCipher(key, salt [32]byte, bound []byte) (cipher.AEAD, error) {
	k, err := hkdf.Key(sha256.New, key[:], salt[:], "runnel/journal/segment"+string(bound), 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(k)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// decodeHeader is the opposite of encode. It returns ErrHeader, store.ErrNewer or store.ErrWrongKey.
func decodeHeader(key [32]byte, b []byte) (h Header, aead cipher.AEAD, err error) {
	if len(b) < HeaderSize || string(b[:len(magic)]) != magic {
		return h, nil, ErrHeader
	}
	if digest := sha256.Sum256(b[:checked]); string(digest[:HeaderSize-checked]) != string(b[checked:HeaderSize]) {
		return h, nil, ErrHeader
	}
	if f := binary.BigEndian.Uint32(b[8:]); f > Format {
		return h, nil, fmt.Errorf("%w: journal format %d, this program knows %d; install the newer Runnel", store.ErrNewer, f, Format)
	}
	h = Header{Kind: Kind(b[12]), Segment: binary.BigEndian.Uint64(b[16:]), First: binary.BigEndian.Uint64(b[24:])}
	copy(h.Salt[:], b[32:])
	copy(h.Chain[:], b[64:])
	if h.Kind != KindLog && h.Kind != KindBase {
		return h, nil, ErrHeader
	}
	check, err := hkdf.Key(sha256.New, key[:], h.Salt[:], "runnel/journal/check", checked-bound)
	if err != nil {
		return h, nil, err
	}
	if subtle.ConstantTimeCompare(check, b[bound:checked]) != 1 {
		return h, nil, fmt.Errorf("%w: the journal belongs to another seed", store.ErrWrongKey)
	}
	aead, err = segmentCipher(key, h.Salt, b[:bound])
	return h, aead, err
}

// start is the number and the chain with which the segment's own groups begin.
func (h *Header) start() (next uint64, chain [32]byte) {
	if h.Kind == KindBase {
		return 1, chain
	}
	return h.First, h.Chain
}

func nonceOf(number uint64) (n [12]byte) {
	binary.BigEndian.PutUint64(n[4:], number)
	return n
}

// link continues a chain by one group as it stands on the disk.
func link(chain [32]byte, group []byte) [32]byte {
	h := sha256.New()
	h.Write(chain[:])
	h.Write(group)
	return [32]byte(h.Sum(nil))
}

// parseFrame reads what stands before a sealed body. It is false for anything else.
func parseFrame(b []byte) (size int, number uint64, ok bool) {
	if crc32.Checksum(b[:12], castagnoli) != binary.BigEndian.Uint32(b[12:]) {
		return 0, 0, false
	}
	n := binary.BigEndian.Uint32(b)
	return int(n), binary.BigEndian.Uint64(b[4:]), n >= tagSize && n <= MaxBody+tagSize
}
