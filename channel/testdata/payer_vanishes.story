# The payer vanishes for good. The payee waits for the stop height of the lane and settles alone, at the
# total of its newest voucher; and takes its own lane back after expiry.

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

pay alice 30000001
run
----
alice -> bob: payment 1: 30000001 msat, total 30000001
bob -> alice: ack up to 1: total 30000001, spent 30000001

vanish alice
mine 120
status
----
alice vanishes
disconnected
bob: ALERT the channel expires at block 250, in 72 blocks: open its successor, and close it before block 214; after that it ends by itself, alone
bob: ALERT the channel expires in 36 blocks: it can't be closed together any more; at block 226 payments stop and what was received is settled
alice is gone
bob at block 224: open
  pays:    total 0, spent 0, 0 frames wait, spendable 49000000
  is paid: total 30000001, spent 30000001, receivable 68999999

mine 10
status
----
bob: ALERT the channel expires in 24 blocks: no more payments; what was received is settled, what was deposited returns at expiry
bob: the channel is settling
bob publishes a settle
alice is gone
bob at block 234: settling
  pays:    total 0, spent 0, 0 frames wait, spendable 49000000, but the channel is settling
  is paid: total 30000001, spent 30000001, receivable 68999999, but the channel is settling

mine 30
status
money
----
bob publishes a refund
bob: the channel is closed
alice is gone
bob at block 264: closed
  pays:    total 0, spent 0, 0 frames wait, spendable 49000000, but the channel is closed
  is paid: total 30000001, spent 30000001, receivable 68999999, but the channel is closed
alice has 0 sat in the wallet
bob has 80001 sat in the wallet
fees of the close: 0 sat
