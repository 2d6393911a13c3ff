# A payment that the payee refuses was vouchered all the same: its amount is credit, which later payments
# consume before a new voucher is signed.

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

refuse bob policy
pay alice 700
run
----
alice -> bob: payment 1: 700 msat, total 700
bob -> alice: ack up to 1: total 700, spent 0, 1 refused: policy

status
----
alice at block 104: open
  pays:    total 700, spent 0, 0 frames wait, spendable 99000000
bob at block 104: open
  is paid: total 700, spent 0, receivable 99000000

# 500 of the 700 pay this one, under the voucher that bob has.

refuse bob never
pay alice 500
run
----
alice -> bob: payment 2: 500 msat, total 700
bob -> alice: ack up to 2: total 700, spent 500

# 200 are left: a voucher over 300 more pays 500.

pay alice 500
run
----
alice -> bob: payment 3: 500 msat, total 1000
bob -> alice: ack up to 3: total 1000, spent 1000

status
payments
----
alice at block 104: open
  pays:    total 1000, spent 1000, 0 frames wait, spendable 98999000
bob at block 104: open
  is paid: total 1000, spent 1000, receivable 98999000
alice's payment 1 of 700 msat: for the payee policy; answered policy
alice's payment 2 of 500 msat: for the payee accepted; answered accepted
alice's payment 3 of 500 msat: for the payee accepted; answered accepted
