# The payer starts from a backup that is older than the channel. The payee proves a newer voucher: the
# channel can only be ended then, and is closed at what was really paid.

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
backup alice
pay alice 2000
run
----
alice -> bob: payment 1: 1000 msat, total 1000
bob -> alice: ack up to 1: total 1000, spent 1000
alice -> bob: payment 2: 2000 msat, total 3000
bob -> alice: ack up to 2: total 3000, spent 3000

restore alice
run
----
alice starts from an old backup
disconnected
connected
alice -> bob: resync: open, next 0, total 0, spent 0, answered 2
bob -> alice: resync: open, next 3, total 3000, spent 3000, answered 1
alice: ALERT the peer holds a newer voucher of ours: our record is too old; the channel can only be closed
alice: the channel is recovering

pay alice 500
run
status
----
alice: Pay is not taken: the channel is recovering
alice at block 104: recovering
  pays:    total 3000, spent 3000, 0 frames wait, spendable 98997000, but the channel is recovering
bob at block 104: open
  is paid: total 3000, spent 3000, receivable 98997000

close alice
run
mine 6
money
----
alice: the channel is closing
alice -> bob: stop: next 0, total 0, spent 0
bob: the channel is closing
bob -> alice: stop: next 3, total 3000, spent 3000
alice -> bob: offer to close, fee 200 sat
bob -> alice: signature for the close
alice publishes a close
alice -> bob: the signed close
bob publishes a close
alice: the channel is closed
bob: the channel is closed
alice has 99797 sat in the wallet
bob has 3 sat in the wallet
fees of the close: 200 sat
