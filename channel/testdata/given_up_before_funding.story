# The opener gives the channel up before anything was funded.

new deposit=100000
close alice
run
status
----
alice: the channel is abandoned
connected
bob -> alice: resync: agreed, next 1, total 0, spent 0, answered 1
alice -> bob: refuse: unknown_channel, given up before funding
bob: the channel is abandoned
alice -> bob: refuse: unknown_channel, the channel is abandoned
alice at block 100: abandoned
  pays:    total 0, spent 0, 0 frames wait, spendable 99000000, but the channel is abandoned
bob at block 100: abandoned
  is paid: total 0, spent 0, receivable 99000000, but the channel is abandoned
