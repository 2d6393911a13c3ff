package main

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"time"

	"github.com/tyler-smith/go-bip39"

	"github.com/runnel/runnel/cmd/wholefile"
)

// seedFile is seed.json: the 32 bytes behind the 24 words of BIP 39, and from when on the chain can hold
// anything of ours.
type seedFile struct {
	Format         int
	Entropy        string // hex; absent from a sealed seed
	BirthdayHeight uint32
	Birthday       time.Time
}

// seed is what all keys come from. It is never logged.
type seed struct {
	bytes    []byte // 64, BIP 39 without a passphrase
	birthday time.Time
	height   uint32
	fresh    bool // made in this very start: the chain can hold nothing of it
}

func (seed) String() string { return "(seed)" }

// playMoney are networks whose coins have no value and whose seed may lie open.
func playMoney(network string) bool { return network == "simnet" || network == "regtest" }

// loadSeed reads the seed, or makes one on a network without value. A seed on any other network must be
// sealed, which this version can't do: it refuses rather than hold money behind an open file.
func loadSeed(d *dataDir, network string, log *slog.Logger) (seed, error) {
	if !playMoney(network) {
		return seed{}, fault(fmt.Sprintf("on %s the seed must be sealed with a passphrase, and sealed seeds come with a later version", network),
			"use --network simnet or regtest for now")
	}
	s, err := readSeed(d, network)
	if errors.Is(err, fs.ErrNotExist) {
		if d.id != nil {
			return seed{}, fault(fmt.Sprintf("%s has no seed.json", d.path), "restore it from a backup: without it this node's money can't be moved")
		}
		return makeSeed(d.file("seed.json"), network, log)
	}
	return s, err
}

// readSeed reads the seed that is there.
func readSeed(d *dataDir, network string) (seed, error) {
	path := d.file("seed.json")
	b, err := os.ReadFile(path)
	if err != nil {
		return seed{}, err
	}
	var f seedFile
	if err := json.Unmarshal(b, &f); err != nil {
		return seed{}, fault(fmt.Sprintf("%s is damaged", path), "restore it from a backup")
	}
	return f.open(path)
}

func (f *seedFile) open(path string) (seed, error) {
	entropy, err := hex.DecodeString(f.Entropy)
	if err != nil || len(entropy) != 32 || f.Format != 1 {
		return seed{}, fault(fmt.Sprintf("%s is damaged or of another version", path), "restore it from a backup")
	}
	words, err := bip39.NewMnemonic(entropy)
	if err != nil {
		return seed{}, err
	}
	return seed{bytes: bip39.NewSeed(words, ""), birthday: f.Birthday, height: f.BirthdayHeight}, nil
}

func makeSeed(path, network string, log *slog.Logger) (seed, error) {
	entropy := make([]byte, 32)
	_, _ = rand.Read(entropy) // never fails
	f := seedFile{Format: 1, Entropy: hex.EncodeToString(entropy), Birthday: time.Now().UTC().Truncate(time.Second)}
	b, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return seed{}, err
	}
	if err := wholefile.Write(path, append(b, '\n'), false); err != nil {
		return seed{}, err
	}
	s, err := f.open(path)
	s.fresh = true
	log.Warn("a new seed was made and lies unsealed in the data directory: "+network+" coins have no value, do not do this elsewhere", "file", path)
	return s, err
}
