# The payee starts from an old backup: it can't prove the payments that it acknowledged. The payer's record
# stands, both lanes stop, and the owner is told.

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
backup bob
pay alice 2000
run
----
alice -> bob: payment 1: 1000 msat, total 1000
bob -> alice: ack up to 1: total 1000, spent 1000
alice -> bob: payment 2: 2000 msat, total 3000
bob -> alice: ack up to 2: total 3000, spent 3000

restore bob
run
status
----
bob starts from an old backup
disconnected
connected
alice -> bob: resync: open, next 0, total 0, spent 0, answered 3
bob -> alice: resync: open, next 2, total 1000, spent 1000, answered 1
bob: ALERT the peer holds answers of ours that we do not know: our record is too old; restore the newest backup, then close the channel
bob: the channel is recovering
alice: ALERT no more payments on the lane that we pay on: the peer forgot acknowledged payments
alice -> bob: newest voucher: next 3, total 3000, spent 3000
bob: ALERT the peer handed back its newest voucher: 2000 msat more than our record knew
alice at block 104: open
  pays:    total 3000, spent 3000, 0 frames wait, spendable 98997000, but the lane is frozen: the peer forgot acknowledged payments
bob at block 104: recovering
  is paid: total 3000, spent 3000, receivable 98997000, but the channel is recovering

close bob
run
mine 6
money
----
bob: the channel is closing
bob -> alice: stop: next 3, total 3000, spent 3000
alice: the channel is closing
alice -> bob: stop: next 0, total 0, spent 0
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
