# A used sequence number comes again with another amount under a good signature. The money stays as it
# was, the lane is frozen, and the channel is still closed at what was accepted.

new deposit=100000
open
----
connected
alice -> bob: resync: agreed, next 0, total 0, spent 0, answered 1
bob -> alice: resync: agreed, next 1, total 0, spent 0, answered 1
alice -> bob: funded
alice publishes a fund
bob: the lane that pays us is ready
bob: the channel is open
bob -> alice: ready
alice: the lane that we pay on is ready
alice: the channel is open

pay alice 1000
run
----
alice -> bob: payment 1: 1000 msat, total 1000
bob -> alice: ack up to 1: total 1000, spent 1000

alter bob 1 900
run
----
bob: BLAME sequence number 1 came again with other content
bob: ALERT no more payments on the lane that pays us: a used sequence number came with other content

pay alice 2000
run
status
----
alice -> bob: payment 2: 2000 msat, total 3000
alice at block 104: open
  pays:    total 3000, spent 1000, 1 frames wait, spendable 98997000
bob at block 104: open
  is paid: total 1000, spent 1000, receivable 98999000, but the lane is frozen: a used sequence number came with other content

close bob
run
mine 6
money
----
bob: the channel is closing
bob -> alice: stop: next 2, total 1000, spent 1000
alice: the channel is closing
alice -> bob: stop: next 0, total 0, spent 0
alice -> bob: offer to close, fee 200 sat
bob -> alice: signature for the close
alice publishes a close
alice -> bob: the signed close
bob publishes a close
alice: the channel is closed
bob: the channel is closed
alice has 99799 sat in the wallet
bob has 1 sat in the wallet
fees of the close: 200 sat
