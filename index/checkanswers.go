package index

import (
	"wolfdisk/volume"
)

// answers checks the answers to forwarded requests: a client's count up without gaps in
// the order of their ops, there are no more than are kept, and each is found by its
// request.
func (c *checker) answers() error {
	client, clients := "", 0
	first, last, version := uint64(0), uint64(0), volume.Version(0)
	err := c.others(kAnswer, func(key, val []byte) error {
		who, n, ok := cutClientKey(key)
		if !ok {
			return c.foundf("key %x of an answer is damaged", key)
		}
		a, err := decodeAnswer(val)
		if err != nil {
			return c.found("an answer to node "+who, err)
		}
		if who != client {
			clients++
			client, first, last, version = who, n, n-1, 0
		}
		var wrong error
		switch {
		case n != last+1:
			wrong = c.foundf("answer %d to node %s follows %d", n, who, last)
		case n-first >= volume.MaxAnswers:
			wrong = c.foundf("there are more than %d answers to node %s", volume.MaxAnswers, who)
		case a.version <= version || a.version > c.s.meta.pos.Version:
			wrong = c.foundf("answer %d to node %s is of op %d, the one before of op %d", n, who, a.version, version)
		}
		last, version = n, a.version
		if wrong != nil {
			return wrong
		}
		way, ok, err := c.pointed(keyClient(kAsked, who, a.seq))
		if err != nil {
			return err
		}
		// A later answer to the same request has the way to itself.
		if !ok || len(way) != 8 || beUint64(way) < n {
			return c.foundf("answer %d to node %s is not found by request %d", n, who, a.seq)
		}
		return nil
	})
	if err == nil && clients > volume.MaxClients {
		err = c.foundf("answers to %d nodes are kept", clients)
	}
	if err != nil {
		return err
	}
	return c.others(kAsked, func(key, val []byte) error {
		who, seq, ok := cutClientKey(key)
		if !ok || len(val) != 8 {
			return c.foundf("the way to an answer, %x, is damaged", key)
		}
		at, ok, err := c.pointed(keyClient(kAnswer, who, beUint64(val)))
		if err != nil {
			return err
		}
		if a, err := decodeAnswer(at); !ok || err == nil && a.seq != seq {
			return c.foundf("request %d of node %s leads to answer %d, which is not its own", seq, who, beUint64(val))
		}
		return nil
	})
}
