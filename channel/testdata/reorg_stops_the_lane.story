# A reorganisation takes the funding out of the chain: the lane stops at once, on both sides, and goes on
# when the funding is deep enough again.

new deposit=100000 confirmations=2
open
----
connected
alice -> bob: resync: agreed, next 0, total 0, spent 0, answered 1
bob -> alice: resync: agreed, next 1, total 0, spent 0, answered 1
alice -> bob: funded
alice publishes a fund (2 times)
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

reorg 7
run
status
----
bob: the lane that pays us is stopped
bob: ALERT the peer's funding left the chain: nothing more is taken until it is back
alice publishes a fund (9 times)
alice at block 109: open
  pays:    total 1000, spent 1000, 0 frames wait, spendable 98999000, but the lane's funding is not in the chain that we see
bob at block 109: open
  is paid: total 1000, spent 1000, receivable 98999000, but the peer's funding is not confirmed

pay alice 1000
run
----
alice: Pay is not taken: the lane's funding is not in the chain that we see

mine 1
----

mine 1
----
bob: the lane that pays us is ready
bob -> alice: ready

pay alice 1000
run
payments
----
alice -> bob: payment 2: 1000 msat, total 2000
bob -> alice: ack up to 2: total 2000, spent 2000
alice's payment 1 of 1000 msat: for the payee accepted; answered accepted
alice's payment 2 of 1000 msat: for the payee accepted; answered accepted
