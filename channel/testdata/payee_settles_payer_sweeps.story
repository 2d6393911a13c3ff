# The payee settles alone and is gone, after it took a payment that it did not answer and before it saw
# another. The payer sees the settlement's total, takes the rest, and once the settlement is six deep it
# knows the fate of both.

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

pay alice 10000000
run
pay alice 600
act alice
hear bob
act bob
pay alice 700
act alice
force bob
act bob
vanish bob
----
alice -> bob: payment 1: 10000000 msat, total 10000000
bob -> alice: ack up to 1: total 10000000, spent 10000000
alice -> bob: payment 2: 600 msat, total 10000600
bob -> alice: ack up to 2: total 10000600, spent 10000600
alice -> bob: payment 3: 700 msat, total 10001300
bob: the channel is settling
bob publishes a settle
bob vanishes
disconnected

mine 1
status
payments
----
alice: the channel is settling
alice publishes a sweep
alice at block 105: settling
  pays:    total 10001300, spent 10000000, 2 frames wait, spendable 88998700, but the channel is settling
bob is gone
alice's payment 1 of 10000000 msat: for the payee accepted; answered accepted
alice's payment 2 of 600 msat: for the payee accepted; no answer
alice's payment 3 of 700 msat: for the payee never seen; no answer

mine 4
payments
----
alice's payment 1 of 10000000 msat: for the payee accepted; answered accepted
alice's payment 2 of 600 msat: for the payee accepted; no answer
alice's payment 3 of 700 msat: for the payee never seen; no answer

mine 1
payments
status
----
alice's payment 1 of 10000000 msat: for the payee accepted; answered accepted
alice's payment 2 of 600 msat: for the payee accepted; the end of the channel says accepted
alice's payment 3 of 700 msat: for the payee never seen; the end of the channel says closed
alice at block 110: settling
  pays:    total 10001300, spent 10000000, 0 frames wait, spendable 89000000, but the channel is settling
bob is gone

mine 1
status
money
----
alice: the channel is closed
alice at block 111: closed
  pays:    total 10001300, spent 10000000, 0 frames wait, spendable 89000000, but the channel is closed
bob is gone
alice has 89999 sat in the wallet
bob has 10001 sat in the wallet
fees of the close: 0 sat
