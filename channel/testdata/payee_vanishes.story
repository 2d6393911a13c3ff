# The payee vanishes for good with a payment that it took and one that it never saw. It never settles, so
# the payer gets the whole deposit back after expiry.

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

pay alice 30000000
run
pay alice 5000
act alice
vanish bob
----
alice -> bob: payment 1: 30000000 msat, total 30000000
bob -> alice: ack up to 1: total 30000000, spent 30000000
alice -> bob: payment 2: 5000 msat, total 30005000
bob vanishes
disconnected

pay alice 1
act alice
force alice
----
alice: the channel is settling

mine 20
status
----
alice: Pay is not taken: the channel is settling
alice at block 124: settling
  pays:    total 30005000, spent 30000000, 1 frames wait, spendable 68995000, but the channel is settling
bob is gone

mine 130
status
----
alice: ALERT the channel expired: the deposit returns now
alice publishes a refund
alice at block 254: settling
  pays:    total 30005000, spent 30000000, 1 frames wait, spendable 68995000, but the channel is settling
bob is gone

mine 6
status
payments
money
----
alice: the channel is closed
alice at block 260: closed
  pays:    total 30005000, spent 30000000, 0 frames wait, spendable 69000000, but the channel is closed
bob is gone
alice's payment 1 of 30000000 msat: for the payee accepted; answered accepted
alice's payment 2 of 5000 msat: for the payee never seen; the end of the channel says closed
alice has 100000 sat in the wallet
bob has 0 sat in the wallet
fees of the close: 0 sat
