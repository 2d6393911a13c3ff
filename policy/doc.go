// Package policy decides what a node does with its owner's money: (request, usage, now) gives allow,
// approve or refuse, with the rule, its limit and the setting that changes it. It refuses to know clocks,
// stores, peers and keys; whoever asks brings usage and time along.
//
//	if d := limits.PayOut(policy.Payment{Amount: amount, Used: used, Minute: minute, ToPeer: toPeer}); d.Verdict != policy.Allow { return d.Err() }
package policy
