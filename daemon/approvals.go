package daemon

import (
	"bytes"
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/policy"
	"github.com/runnel/runnel/store"
)

// A request that needs the owner's word waits here, durably. A yes carries it out; a payment keeps its id
// all the while, so that asking, approving and asking again pay once.
//
//	waiting ──> approved ──> done          a payment: its id makes every repetition safe
//	   │           running ──> done        opening or sending: found running at a start it is unclear
//	   ├──> denied                          and not carried out again
//	   └──> expired
const (
	statusWaiting  = "waiting"
	statusApproved = "approved"
	statusRunning  = "running"
	statusDone     = "done"
	statusDenied   = "denied"
	statusExpired  = "expired"
	statusUnclear  = "unclear"

	kindPay  = "pay"
	kindDraw = "draw" // approved, it is given when it is asked for again
	kindOpen = "open"
	kindSend = "send"
)

const (
	prefixApproval = 'a'

	// approvalLife is how long a request waits, and how long a yes holds that could not be carried out.
	approvalLife = 24 * time.Hour
	// maxWaiting bounds what waits: a person reads no longer list, and a program in a loop fills it.
	maxWaiting = 100
	// keepEnded is how long the fate of a request is remembered; at most maxEnded of them are.
	keepEnded = 30 * 24 * time.Hour
	maxEnded  = 1000
)

// approval is the record.
type approval struct {
	id      channel.PaymentID
	Kind    string
	Status  string
	Amount  channel.Msat
	Peer    channel.PeerID `json:",omitempty"` // of a payment, whatever Target said
	Target  string
	Ref     string               `json:",omitempty"`
	Open    *channel.OpenRequest `json:",omitempty"`
	All     bool                 `json:",omitempty"` // send everything
	Rate    uint64               `json:",omitempty"`
	Why     string
	Rule    string
	Made    int64
	Expires int64
	Result  string `json:",omitempty"`
}

func approvalKey(id channel.PaymentID) []byte { return append([]byte{prefixApproval}, id[:]...) }

// approvals are all requests that are remembered.
type approvals struct {
	write turn // one change at a time, over its commit

	mu   sync.Mutex // guards the map; records in it are never changed, only replaced
	list map[channel.PaymentID]*approval
}

func newApprovals() *approvals {
	return &approvals{write: make(turn, 1), list: map[channel.PaymentID]*approval{}}
}

// get is the record with its status at a time.
func (a *approvals) get(id channel.PaymentID, now time.Time) *approval {
	a.mu.Lock()
	defer a.mu.Unlock()
	r := a.list[id]
	if r != nil && (r.Status == statusWaiting || r.Status == statusApproved) && now.UnixMilli() >= r.Expires {
		old := *r
		old.Status = statusExpired
		return &old
	}
	return r
}

func (a *approvals) all(now time.Time) []*approval {
	a.mu.Lock()
	ids := make([]channel.PaymentID, 0, len(a.list))
	for id := range a.list {
		ids = append(ids, id)
	}
	a.mu.Unlock()
	list := make([]*approval, 0, len(ids))
	for _, id := range ids {
		if r := a.get(id, now); r != nil {
			list = append(list, r)
		}
	}
	slices.SortFunc(list, func(a, b *approval) int {
		return cmp.Or(cmp.Compare(b.Made, a.Made), bytes.Compare(a.id[:], b.id[:]))
	})
	return list
}

func (a *approvals) waiting(now time.Time) (n int) {
	for _, r := range a.all(now) {
		if r.Status == statusWaiting {
			n++
		}
	}
	return n
}

func (n *Node) loadApprovals() error {
	var bad error
	err := n.deps.Store.Scan([]byte{prefixApproval}, nil, func(key, value []byte) bool {
		r := new(approval)
		if len(key) != 17 || json.Unmarshal(value, r) != nil {
			bad = fmt.Errorf("daemon: the approval %x can't be read", key[1:])
			return false
		}
		r.id = channel.PaymentID(key[1:])
		if r.Status == statusRunning {
			r.Status = statusUnclear
		}
		n.approvals.list[r.id] = r
		return true
	})
	return errors.Join(err, bad, n.finishApproved())
}

// finishApproved marks what was paid before the program ended and could say so: it did not expire.
func (n *Node) finishApproved() error {
	for _, r := range n.approvals.list {
		if r.Status != statusApproved {
			continue
		}
		switch _, err := n.deps.Store.Get(idKey(r.id)); {
		case err == nil:
			r.Status, r.Result = statusDone, "signed before a restart"
		case !errors.Is(err, store.ErrNotFound):
			return err
		}
	}
	return nil
}

// change makes a record durable, with an alert if there is something to tell, and then the one that holds.
// The caller has the turn.
func (n *Node) change(r *approval, alert string) error {
	value, err := json.Marshal(r)
	if err != nil {
		return err
	}
	box := &outbox{}
	box.batch.Put(approvalKey(r.id), value)
	old := n.forgettable()
	for _, id := range old {
		box.batch.Delete(approvalKey(id))
	}
	if alert != "" {
		n.log.Warn(alert)
		box.entries = append(box.entries, entry{Kind: channel.EventAlert, Text: alert})
	}
	stored := make(chan error, 1)
	n.submit(box, func(err error) { stored <- err })
	err = <-stored
	n.woke()
	if err != nil {
		return n.fault(err)
	}
	n.approvals.mu.Lock()
	defer n.approvals.mu.Unlock()
	n.approvals.list[r.id] = r
	for _, id := range old {
		delete(n.approvals.list, id)
	}
	return nil
}

// forgettable are requests that ended long ago, or too many newer ones ago.
func (n *Node) forgettable() (ids []channel.PaymentID) {
	now := n.deps.Now()
	ended := 0
	for _, r := range n.approvals.all(now) {
		if r.Status == statusWaiting || r.Status == statusApproved || r.Status == statusRunning {
			continue
		}
		if ended++; ended > maxEnded || now.Sub(time.UnixMilli(r.Made)) > keepEnded {
			ids = append(ids, r.id)
		}
	}
	return ids
}

// askOwner has a request wait for the owner, and returns the fault that says so.
func (n *Node) askOwner(r *approval, why policy.Decision) error {
	n.approvals.write.take(n)
	defer n.approvals.write.leave()
	now := n.deps.Now()
	if old := n.approvals.get(r.id, now); old != nil {
		return n.waits(old)
	}
	if n.approvals.waiting(now) >= maxWaiting {
		return channel.Faultf(channel.CodeLimit, "%s; %d requests wait for an approval already", why.Text, maxWaiting).
			WithHint("approve or deny some of them: runnel approvals")
	}
	r.Status, r.Why, r.Rule = statusWaiting, why.Text, why.Rule
	r.Made, r.Expires = now.UnixMilli(), now.Add(approvalLife).UnixMilli()
	short := r.id.String()[:8]
	if err := n.change(r, fmt.Sprintf("%s; decide with: runnel approve %s, or: runnel deny %s", why.Text, short, short)); err != nil {
		return err
	}
	return n.asked(r, why)
}

func (n *Node) asked(r *approval, why policy.Decision) error {
	hint := fmt.Sprintf("approve it within %v with: runnel approve %s", approvalLife, r.id)
	if why.Setting != "" {
		hint += fmt.Sprintf("; the limit %s is %s; change it with: %s", why.Setting, policy.Show(why.Setting, why.Limit), why.Command())
	}
	return channel.Faultf(channel.CodeApproval, "%s", why.Text).WithHint("%s", hint)
}

// waits is the fault of a request that was asked about before.
func (n *Node) waits(r *approval) error {
	switch r.Status {
	case statusWaiting, statusApproved:
		return channel.Faultf(channel.CodeApproval, "%s", r.Why).WithHint("it waits for: runnel approve %s", r.id)
	case statusDenied:
		return channel.Faultf(channel.CodeLimit, "the owner denied this request; nothing was signed").WithHint("a new request needs a new id")
	case statusExpired:
		return channel.Faultf(channel.CodeLimit, "nobody approved this request in time; nothing was signed").WithHint("ask again with a new id")
	case statusRunning:
		return channel.Faultf(channel.CodePending, "this request is being carried out")
	case statusUnclear:
		return channel.Faultf(channel.CodePending, "the daemon ended while this request was carried out: it is not known whether it was").
			WithHint("look at runnel channels and runnel txs, and ask anew if it is not there")
	}
	return channel.Faultf(channel.CodeLimit, "this request was carried out: %s", r.Result)
}

// granted reports whether the owner said yes to a payment, and refuses one whose id means another or was
// denied.
func (n *Node) granted(now *approval) (bool, error) {
	r := n.approvals.get(now.id, n.deps.Now())
	switch {
	case r == nil:
		return false, nil
	case r.Kind != now.Kind || r.Amount != now.Amount:
		return false, conflict(r.id, "%d msat, which needs an approval", r.Amount)
	case r.Peer != now.Peer:
		return false, conflict(r.id, "peer %s, which needs an approval", r.Peer)
	case r.Status == statusApproved || r.Status == statusDone:
		return true, nil
	case r.Status == statusWaiting:
		return false, nil
	}
	return false, n.waits(r)
}

// approvalLike finds a request by its id or a unique prefix.
func (n *Node) approvalLike(s string) (*approval, error) {
	s = strings.ToLower(s)
	if len(s) < minPrefix {
		return nil, channel.Faultf(channel.CodeBadRequest, "%q is too short for an id: give at least %d characters", s, minPrefix)
	}
	var found []*approval
	var ids []string
	for _, r := range n.approvals.all(n.deps.Now()) {
		if id := hex.EncodeToString(r.id[:]); strings.HasPrefix(id, s) {
			found, ids = append(found, r), append(ids, id)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return nil, channel.Faultf(channel.CodeNotFound, "no request %s waits or waited for an approval", s).WithHint("list them with: runnel approvals")
	}
	return nil, ambiguous(s, ids)
}

// Approvals lists the requests that wait for the owner or waited, newest first.
func (n *Node) Approvals(context.Context) ([]channel.Approval, error) {
	all := n.approvals.all(n.deps.Now())
	list := make([]channel.Approval, 0, len(all))
	for _, r := range all {
		list = append(list, r.info())
	}
	return list, nil
}

func (r *approval) info() channel.Approval {
	return channel.Approval{ID: r.id, Kind: r.Kind, Amount: r.Amount, Target: r.Target, Ref: r.Ref, Status: r.Status, Why: r.Why,
		Rule: r.Rule, Made: r.Made, Expires: r.Expires, Result: r.Result}
}

// Deny ends a request that waits. A yes that could not be carried out yet is taken back by it too.
func (n *Node) Deny(_ context.Context, id string) (channel.Approval, error) {
	n.approvals.write.take(n)
	defer n.approvals.write.leave()
	old, err := n.approvalLike(id)
	if err != nil {
		return channel.Approval{}, err
	}
	if old.Status == statusDenied {
		return old.info(), nil
	}
	if old.Status != statusWaiting && old.Status != statusApproved {
		return old.info(), n.waits(old)
	}
	if _, found, err := n.findPayment(old.id); err != nil {
		return old.info(), n.fault(err)
	} else if found {
		return old.info(), paidAlready()
	}
	r := *old
	r.Status = statusDenied
	if err := n.change(&r, ""); err != nil {
		return r.info(), err
	}
	return r.info(), n.tooLate(r.id)
}

// tooLate says that what was just denied may have passed before the no: it was on its way then. What begins after the
// no is refused.
func (n *Node) tooLate(id channel.PaymentID) error {
	if n.jobs.paying(id) || n.jobs.asking(id) {
		return channel.Faultf(channel.CodePending, "it is denied, but it was being paid already").WithHint("see with runnel payments whether the no came in time")
	}
	_, paid, err := n.findPayment(id)
	if err == nil && paid {
		return paidAlready()
	}
	return n.fault(err)
}

func paidAlready() error {
	return channel.Faultf(channel.CodeLimit, "it is paid already").WithHint("see it with: runnel payments")
}

// Approve carries a request out that waits. Whatever it is called again, a request is carried out once.
func (n *Node) Approve(ctx context.Context, id string) (channel.Approved, error) {
	yes, err := n.sayYes(id)
	if err != nil {
		return channel.Approved{}, err
	}
	own := *yes // several may say yes at once
	r, out := &own, channel.Approved{}
	switch r.Kind {
	case kindDraw:
		return channel.Approved{Approval: r.info()}, nil
	case kindPay:
		out.Payment, err = n.Pay(ctx, channel.PayRequest{Target: r.Target, Amount: r.Amount, Ref: r.Ref, ID: r.id, HasID: true})
		if err != nil && !signed(err) {
			out.Approval = r.info()
			return out, err // the yes holds: whoever asks again with the id pays
		}
		r.Result = out.Payment.Status.String()
	case kindOpen:
		out.Channel, err = n.open(ctx, *r.Open, true)
		r.Result = outcomeText("channel "+out.Channel.Channel.String(), err)
	default:
		out.Sent, err = n.sendOut(ctx, r.Target, channel.Sat(r.Amount/1000), r.All, r.Rate, true)
		r.Result = outcomeText("transaction "+out.Sent.TxID, err)
	}
	r.Status = statusDone
	n.approvals.write.take(n)
	defer n.approvals.write.leave()
	out.Approval = r.info()
	return out, errors.Join(err, n.change(r, ""))
}

// signed reports whether a payment that ended in an error may be made all the same.
func signed(err error) bool {
	var f *channel.Fault
	return errors.As(err, &f) && f.Code == channel.CodePending
}

func outcomeText(done string, err error) string {
	if err != nil {
		return "failed: " + words(err)
	}
	return done
}

// sayYes makes the owner's word durable.
func (n *Node) sayYes(id string) (*approval, error) {
	n.approvals.write.take(n)
	defer n.approvals.write.leave()
	old, err := n.approvalLike(id)
	if err != nil {
		return nil, err
	}
	r := *old
	switch {
	case (r.Kind == kindPay || r.Kind == kindDraw) && (r.Status == statusApproved || r.Status == statusDone):
		return &r, nil
	case r.Status != statusWaiting:
		return nil, n.waits(old)
	case r.Kind == kindPay, r.Kind == kindDraw:
		r.Status = statusApproved
	default:
		r.Status = statusRunning
	}
	return &r, n.change(&r, "")
}
