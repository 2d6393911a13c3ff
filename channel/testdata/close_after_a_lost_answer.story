# Bob refuses a payment and his answer is lost with the connection; then he closes. The payer still learns
# which payment was refused, and the close pays what was accepted.

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
refuse bob policy
pay alice 2000
act alice
hear bob
act bob
cut
----
alice -> bob: payment 1: 1000 msat, total 1000
bob -> alice: ack up to 1: total 1000, spent 1000
alice -> bob: payment 2: 2000 msat, total 3000
bob -> alice: ack up to 2: total 3000, spent 1000, 2 refused: policy
disconnected

close bob
run
payments
----
bob: the channel is closing
connected
alice -> bob: resync: open, next 0, total 0, spent 0, answered 2
bob -> alice: stop: next 3, total 3000, spent 1000
bob -> alice: resync: closing, next 3, total 3000, spent 1000, answered 1
bob -> alice: stop: next 3, total 3000, spent 1000
alice: the channel is closing
alice -> bob: payment 2: 2000 msat, total 3000
bob -> alice: ack up to 2: total 3000, spent 1000, 2 refused: policy
alice -> bob: stop: next 0, total 0, spent 0
alice -> bob: offer to close, fee 200 sat (2 times)
bob -> alice: signature for the close (2 times)
alice publishes a close
alice -> bob: the signed close
bob publishes a close
alice's payment 1 of 1000 msat: for the payee accepted; answered accepted
alice's payment 2 of 2000 msat: for the payee policy; the end of the channel says policy

mine 6
money
----
alice: the channel is closed
bob: the channel is closed
alice has 99799 sat in the wallet
bob has 1 sat in the wallet
fees of the close: 200 sat
