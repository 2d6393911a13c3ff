package btcwallet

import (
	"time"

	"github.com/runnel/runnel/ledger"
)

// Every limit of this package, each with its reason.
const (
	// FeeFloor is a quarter above the 1 sat/vB that nodes ask for relaying: a rate on the very edge
	// fails on nodes whose mempool has filled a little.
	FeeFloor ledger.FeeRate = 1250

	// FeeCap stops a broken estimate from burning the money: mainnet never needed 1,000 sat/vB for
	// more than a few blocks.
	FeeCap ledger.FeeRate = 1_000_000

	// feeRefresh is how often the fee URL is asked: estimates move with blocks. feeKeep is how long its
	// last answer stands while it does not answer: half a dozen blocks, in which fees can double.
	feeRefresh = time.Minute
	feeKeep    = time.Hour

	// feeTimeout bounds one question to the fee URL, feeWait how long an estimate waits for the first
	// answer of a source: a scan of the chain stands behind it.
	feeTimeout = 10 * time.Second
	feeWait    = 3 * time.Second

	// maxFeeAnswer is sixty times the longest answer of known servers.
	maxFeeAnswer = 64 << 10

	// feeBlocks is how many recent blocks are looked at: about two hours, and more blocks than a miner
	// with a third of the power finds among them by chance. A light client fetches them, at most 25 MB.
	feeBlocks = 11

	// leaseTime is how long Fund keeps coins for a transaction that was neither published nor
	// released: long enough to negotiate and to survive a restart, short enough that a crash in
	// between does not lock money for good.
	leaseTime = 24 * time.Hour

	// recoveryWindow is how many unused addresses in a row a rebuilt wallet looks past: five times
	// what wallets agree on, as each channel that fails to open leaves a change address unused.
	recoveryWindow = 100

	// birthdayBlocks and birthdayTime are how far before the seed's birthday a rebuilt wallet starts:
	// beyond any reorganisation, and beyond the two hours that block times may be off.
	birthdayBlocks = 144
	birthdayTime   = 48 * time.Hour

	// callTimeout bounds one question to the backend; fetching a full block from a slow disk or a
	// light client's peer takes seconds.
	callTimeout = 30 * time.Second

	// pingEvery and pingTimeout find a backend that is gone without having closed its connection.
	pingEvery   = 10 * time.Second
	pingTimeout = 20 * time.Second

	// minBackoff and maxBackoff bound the pause between attempts to reach the backend: at once after
	// a restart of it, seldom enough not to fill its log during a long outage.
	minBackoff = 200 * time.Millisecond
	maxBackoff = 10 * time.Second

	// awayEvery is how often a light client is asked whether it has peers; readyWait bounds how long one
	// attempt waits for it to catch up, so that the reason is known meanwhile.
	awayEvery = time.Second
	readyWait = 10 * time.Second
	readyPoll = 50 * time.Millisecond

	// progressEvery is how often a light client that fetches headers says how far it is.
	progressEvery = 15 * time.Second

	// dialTimeout bounds one attempt of the light client to reach a peer.
	dialTimeout = 10 * time.Second

	// takeBackAttempts and takeBackPause let a reorganisation that is under way come to its end.
	takeBackAttempts = 6
	takeBackPause    = 50 * time.Millisecond

	// syncRetry is the wallet's pause after a failed synchronisation.
	syncRetry = time.Second

	// dbTimeout is how long to wait for another process to let go of the database.
	dbTimeout = 5 * time.Second

	// maxLabel is the wallet database's limit for a label.
	maxLabel = 500

	// rollbackChecks is how many blocks in a row must agree with the backend before the wallet trusts
	// that it followed the same chain.
	rollbackChecks = 10
)
