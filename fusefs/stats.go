package fusefs

// Stats are counters since the mount, and what is there now.
type Stats struct {
	Driver   string
	Requests map[string]uint64 // by opcode
	Errors   uint64            // requests answered with an errno

	Readers, Busy int    // readers, and those of them that handle a request
	Inodes        int    // known to the kernel
	Opens         uint64 // files and directories open

	Notified   uint64 // invalidations the kernel took
	NotKnown   uint64 // invalidations of what it did not keep
	Repeated   uint64 // invalidations sent again
	NotifyFail uint64 // invalidations it refused
	Everything uint64 // times everything was invalidated
	Stuck      uint64 // invalidations that waited long for a lock of the kernel
	Waiting    int    // invalidations not sent yet
}

// Stats returns the counters of the mount.
func (s *Server) Stats() Stats {
	st := Stats{Driver: s.driver.name(), Requests: map[string]uint64{}}
	for _, c := range s.core.calls.all() {
		for op := range c.stats.byOp {
			if n := c.stats.byOp[op].Load(); n > 0 {
				st.Requests[opcodeNames[op]] += n
			}
		}
		st.Errors += c.stats.errors.Load()
	}
	st.Readers, st.Busy = s.driver.readers()
	st.Inodes, st.Opens = s.core.nodes.count()
	n := s.core.notify
	n.mu.Lock()
	defer n.mu.Unlock()
	st.Notified, st.NotKnown, st.Repeated = n.stats.sent, n.stats.unknown, n.stats.repeated
	st.NotifyFail, st.Everything, st.Stuck = n.stats.failed, n.stats.everything, n.stats.stuck
	st.Waiting = len(n.queue) - n.head + n.retries
	return st
}
