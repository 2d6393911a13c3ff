package daemon

import (
	"bytes"
	"errors"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/daemon/budget"
)

// job is one payment of an own application on its way.
type job struct {
	payment channel.Payment
	peer    channel.PeerID
	channel channel.ID
	state   atomic.Uint32 // jobWaiting, jobTaken, jobCancelled
	token   budget.Token  // what the budget counts for it; released at most once

	mu     sync.Mutex // guards the fields below
	done   []func(channel.PayResult, error)
	over   bool // result and err are set
	result channel.PayResult
	err    error
}

const (
	jobWaiting = iota
	jobTaken   // offered to the machine: may be signed
	jobCancelled
)

func newJob(p channel.Payment, peer channel.PeerID, id channel.ID) *job {
	j := &job{payment: p, peer: peer, channel: id}
	j.state.Store(jobWaiting)
	return j
}

func (j *job) take() bool {
	return j.state.CompareAndSwap(jobWaiting, jobTaken) || j.state.Load() == jobTaken
}
func (j *job) untake() { j.state.CompareAndSwap(jobTaken, jobWaiting) }

// cancel reports whether the payment was stopped before anything could be signed.
func (j *job) cancel() bool { return j.state.CompareAndSwap(jobWaiting, jobCancelled) }

// wait calls done once the fate is known, at once if it is.
func (j *job) wait(done func(channel.PayResult, error)) {
	j.mu.Lock()
	if !j.over {
		j.done = append(j.done, done)
		j.mu.Unlock()
		return
	}
	result, err := j.result, j.err
	j.mu.Unlock()
	done(result, err)
}

// alone reports whether one caller at most waits.
func (j *job) alone() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.done) <= 1
}

// finish tells all that wait.
func (j *job) finish(r channel.PayResult, err error) {
	j.mu.Lock()
	if j.over {
		j.mu.Unlock()
		return
	}
	j.over, j.result, j.err = true, r, err
	done := j.done
	j.done = nil
	j.mu.Unlock()
	for _, f := range done {
		f(r, err)
	}
}

// registry knows every own payment from the moment that it is asked for until its answer is durable, so
// that an id means one payment, also when it comes 64 times at once.
type registry struct {
	mu    sync.Mutex // guards the fields below
	jobs  map[channel.PaymentID]*job
	asks  map[channel.PaymentID]*askJob // authorisations on their way
	doubt map[channel.PaymentID]bool    // signed once, and nobody knows whether that was stored
}

func newRegistry() *registry {
	return &registry{jobs: map[channel.PaymentID]*job{}, asks: map[channel.PaymentID]*askJob{}, doubt: map[channel.PaymentID]bool{}}
}

// claim registers j, or returns the job that has its id already.
func (r *registry) claim(j *job) (other *job) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if other := r.jobs[j.payment.ID]; other != nil && !planted("id not claimed") {
		return other
	}
	r.jobs[j.payment.ID] = j
	return nil
}

// claimAsk registers an authorisation, or returns the one that has its id already.
func (r *registry) claimAsk(j *askJob) (other *askJob) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if other := r.asks[j.id]; other != nil {
		return other
	}
	r.asks[j.id] = j
	return nil
}

func (r *registry) forgetAsk(j *askJob) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.asks[j.id] == j {
		delete(r.asks, j.id)
	}
}

// paying and asking report whether an id is that of a payment, or of an authorisation, on its way.
func (r *registry) paying(id channel.PaymentID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.jobs[id] != nil
}

func (r *registry) asking(id channel.PaymentID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.asks[id] != nil
}

// suspect notes that a payment was signed and may have been stored.
func (r *registry) suspect(id channel.PaymentID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.doubt[id] = true
}

// doubted is err, unless the payment was signed before by this run of the program and may show at the next
// start: then nobody is told that it was not made.
func (r *registry) doubted(id channel.PaymentID, err error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err == nil || !r.doubt[id] {
		return err
	}
	return channel.Faultf(channel.CodePending, "the payment %s may have been stored when the disk failed, and can't be made now: %v", id, err).
		WithHint("ask again with --id %s: it is not paid twice", id)
}

// renew registers j in place of the job that has its id.
func (r *registry) renew(j *job) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.jobs[j.payment.ID] = j
}

func (r *registry) forget(j *job) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.jobs[j.payment.ID] == j {
		delete(r.jobs, j.payment.ID)
	}
}

func (r *registry) all() []*job {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]*job, 0, len(r.jobs))
	for _, j := range r.jobs {
		all = append(all, j)
	}
	slices.SortFunc(all, func(a, b *job) int { return bytes.Compare(a.payment.ID[:], b.payment.ID[:]) })
	return all
}

func (r *registry) allAsks() []*askJob {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Collect(maps.Values(r.asks))
}

func (r *registry) len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.jobs)
}

var errCancelled = errors.New("daemon: given up before anything was signed")

func errOffline(peer channel.PeerID) error {
	return channel.Faultf(channel.CodePeerUnreachable, "peer %s is not connected; nothing was signed", shortPeer(peer)).
		WithHint("it is dialled again by itself; see: runnel peers")
}

func shortPeer(p channel.PeerID) string {
	if len(p) <= 12 {
		return string(p)
	}
	return "…" + string(p[len(p)-8:])
}
