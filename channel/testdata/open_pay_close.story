# Two peers open a channel with a lane each way, pay, and close it together. What each gets is its deposit,
# minus what it spent and plus what it received, in whole satoshis; alice, who asked, pays the fee.

new deposit=100000 peer=50000
open
----
connected
alice -> bob: resync: agreed, next 1, total 0, spent 0, answered 1
bob -> alice: resync: agreed, next 1, total 0, spent 0, answered 1
alice -> bob: funded
alice publishes a fund
bob: the lane that pays us is ready
bob: the channel is open
bob -> alice: ready
alice: the lane that we pay on is ready
alice: the channel is open
bob -> alice: funded
bob publishes a fund
alice: the lane that pays us is ready
alice -> bob: ready
bob: the lane that we pay on is ready

pay alice 1500 2500 7
run
----
alice -> bob: payment 1-3: 1500+2500+7 msat, total 4007
bob -> alice: ack up to 3: total 4007, spent 4007

pay bob 999
run
----
bob -> alice: payment 1: 999 msat, total 999
alice -> bob: ack up to 1: total 999, spent 999

status
payments
----
alice at block 104: open
  pays:    total 4007, spent 4007, 0 frames wait, spendable 98995993
  is paid: total 999, spent 999, receivable 48999001
bob at block 104: open
  pays:    total 999, spent 999, 0 frames wait, spendable 48999001
  is paid: total 4007, spent 4007, receivable 98995993
alice's payment 1 of 1500 msat: for the payee accepted; answered accepted
alice's payment 2 of 2500 msat: for the payee accepted; answered accepted
alice's payment 3 of 7 msat: for the payee accepted; answered accepted
bob's payment 1 of 999 msat: for the payee accepted; answered accepted

close alice
run
----
alice: the channel is closing
alice -> bob: stop: next 2, total 999, spent 999
bob: the channel is closing
bob -> alice: stop: next 4, total 4007, spent 4007
bob -> alice: offer to close, fee 200 sat
alice -> bob: offer to close, fee 200 sat
alice -> bob: signature for the close
bob -> alice: signature for the close
bob publishes a close
alice publishes a close
bob -> alice: the signed close
alice -> bob: the signed close

mine 6
----
alice: the channel is closed
bob: the channel is closed

status
money
----
alice at block 110: closed
  pays:    total 4007, spent 4007, 0 frames wait, spendable 98995993, but the channel is closed
  is paid: total 999, spent 999, receivable 48999001, but the channel is closed
bob at block 110: closed
  pays:    total 999, spent 999, 0 frames wait, spendable 48999001, but the channel is closed
  is paid: total 4007, spent 4007, receivable 98995993, but the channel is closed
alice has 99996 sat in the wallet
bob has 49804 sat in the wallet
fees of the close: 200 sat
