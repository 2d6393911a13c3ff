# The payee loses everything but its disk while three payments are in flight: the first was stored and its
# answer is lost, the second was decided on but not stored, the third is on its way. None is lost, none
# counts twice.

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

pay alice 100
act alice
pay alice 200
act alice
pay alice 300
act alice
----
alice -> bob: payment 1: 100 msat, total 100
alice -> bob: payment 2: 200 msat, total 300
alice -> bob: payment 3: 300 msat, total 600

hear bob 1
act bob
hear bob 1
crash bob
----
bob -> alice: ack up to 1: total 100, spent 100
bob crashes
disconnected

# Alice repeats all three byte for byte; bob answers the first from his disk.

run
payments
----
connected
alice -> bob: resync: open, next 0, total 0, spent 0, answered 1
bob -> alice: resync: open, next 2, total 100, spent 100, answered 1
alice -> bob: payment 1: 100 msat, total 100
alice -> bob: payment 2: 200 msat, total 300
bob -> alice: ack up to 1: total 100, spent 100
alice -> bob: payment 3: 300 msat, total 600
bob -> alice: ack up to 2: total 300, spent 300
bob -> alice: ack up to 3: total 600, spent 600
alice's payment 1 of 100 msat: for the payee accepted; answered accepted
alice's payment 2 of 200 msat: for the payee accepted; answered accepted
alice's payment 3 of 300 msat: for the payee accepted; answered accepted

# The payer's turn: bob has stored this one, alice loses his answer.

pay alice 400
act alice
hear bob
act bob
crash alice
----
alice -> bob: payment 4: 400 msat, total 1000
bob -> alice: ack up to 4: total 1000, spent 1000
alice crashes
disconnected

run
payments
status
----
connected
alice -> bob: resync: open, next 0, total 0, spent 0, answered 4
bob -> alice: resync: open, next 5, total 1000, spent 1000, answered 1
alice -> bob: payment 4: 400 msat, total 1000
bob -> alice: ack up to 4: total 1000, spent 1000
alice's payment 1 of 100 msat: for the payee accepted; answered accepted
alice's payment 2 of 200 msat: for the payee accepted; answered accepted
alice's payment 3 of 300 msat: for the payee accepted; answered accepted
alice's payment 4 of 400 msat: for the payee accepted; answered accepted
alice at block 104: open
  pays:    total 1000, spent 1000, 0 frames wait, spendable 98999000
bob at block 104: open
  is paid: total 1000, spent 1000, receivable 98999000
