package store

import (
	"bytes"
	"hash/fnv"
)

// node is a treap whose nodes are never changed once they can be seen: a write copies the path to its
// key. So a snapshot is a pointer, and a scan needs no lock.
type node struct {
	key, value  []byte
	priority    uint64
	left, right *node
}

// priority follows from the key alone, so the same keys give the same tree.
func priority(key []byte) uint64 {
	h := fnv.New64a()
	h.Write(key)
	x := h.Sum64()
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	return x ^ x>>33
}

func (n *node) get(key []byte) *node {
	for n != nil {
		switch c := bytes.Compare(key, n.key); {
		case c < 0:
			n = n.left
		case c > 0:
			n = n.right
		default:
			return n
		}
	}
	return nil
}

func (n *node) put(key, value []byte) *node {
	if n == nil {
		return &node{key: key, value: value, priority: priority(key)}
	}
	c := *n
	switch d := bytes.Compare(key, n.key); {
	case d == 0:
		c.value = value
	case d < 0:
		l := n.left.put(key, value)
		if l.priority > c.priority {
			c.left, l.right = l.right, &c
			return l
		}
		c.left = l
	default:
		r := n.right.put(key, value)
		if r.priority > c.priority {
			c.right, r.left = r.left, &c
			return r
		}
		c.right = r
	}
	return &c
}

// remove leaves the tree as it is when the key is absent; the caller looks first.
func (n *node) remove(key []byte) *node {
	if n == nil {
		return nil
	}
	c := *n
	switch d := bytes.Compare(key, n.key); {
	case d < 0:
		c.left = n.left.remove(key)
	case d > 0:
		c.right = n.right.remove(key)
	default:
		return join(n.left, n.right)
	}
	return &c
}

// join makes one tree of two; every key of a is below every key of b.
func join(a, b *node) *node {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	case a.priority > b.priority:
		c := *a
		c.right = join(a.right, b)
		return &c
	default:
		c := *b
		c.left = join(a, b.left)
		return &c
	}
}

// ascend visits keys >= from until fn returns false, and reports whether it came to the end.
func (n *node) ascend(from []byte, fn func(n *node) bool) bool {
	if n == nil {
		return true
	}
	if bytes.Compare(n.key, from) < 0 {
		return n.right.ascend(from, fn)
	}
	return n.left.ascend(from, fn) && fn(n) && n.right.ascend(from, fn)
}

// descend visits the keys that below accepts, from the last; below is true up to some key and false
// after it.
func (n *node) descend(below func(key []byte) bool, fn func(n *node) bool) bool {
	if n == nil {
		return true
	}
	if !below(n.key) {
		return n.left.descend(below, fn)
	}
	return n.right.descend(below, fn) && fn(n) && n.left.descend(below, fn)
}
